// A device on npm mqtt (MQTT.js), as it is: it reconnects and sends again by itself.
// Arguments: port, protocol version, user, device, token; lines as test/scenario/clients_test.py says.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const library = createRequire(process.env.PEER_HOME + '/');
const mqtt = (await import(pathToFileURL(library.resolve('mqtt')).href)).default;
const [port, version, user, device, token] = process.argv.slice(2);
const tell = (value) => process.stdout.write(JSON.stringify({ value }) + '\n');
const received = [];
let client;

function connect() {
  client = mqtt.connect({
    host: '127.0.0.1', port: Number(port), protocol: process.env.PEER_TRANSPORT === 'ws' ? 'ws' : 'mqtt', path: '/mqtt', protocolVersion: Number(version), clientId: device, username: user, password: token, clean: false,
    reconnectPeriod: 200, properties: version === '5' ? { sessionExpiryInterval: 86400 } : undefined,
  });
  client.on('message', (topic, payload) => received.push({ topic, item: JSON.parse(payload) }));
  client.on('error', () => {}); // it comes back by itself
  client.once('connect', (connack) => tell({ present: connack.sessionPresent }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const [act, ...rest] = line.split(' ');
  if (act === 'connect') connect();
  else if (act === 'subscribe') client.subscribe(rest[0], { qos: Number(rest[1]) }, (e, granted) => tell(e ? String(e) : granted.map((g) => g.qos)));
  else if (act === 'send') client.publish(rest[1], rest.slice(2).join(' '), { qos: Number(rest[0]) }, (e) => tell(e ? String(e) : 'sent'));
  else if (act === 'received') tell(received);
}

await client?.endAsync();
