// EventSource (npm eventsource), as a browser has it: it reconnects by itself and says what it saw last.
// Argument: the URL; lines as test/scenario/clients_test.py says.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const library = createRequire(process.env.PEER_HOME + '/');
const { EventSource } = await import(pathToFileURL(library.resolve('eventsource')).href);
const tell = (value) => process.stdout.write(JSON.stringify({ value }) + '\n');
const received = [];
let source, opened = 0;

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'connect') {
    source = new EventSource(process.argv[2]);
    source.addEventListener('open', () => opened++ || tell('open'));
    source.addEventListener('message', (e) => received.push({ topic: e.type, item: { ...JSON.parse(e.data).message, cursor: e.lastEventId } }));
  } else if (line === 'received') tell(received);
  else if (line === 'opened') tell(opened);
}
source?.close();
