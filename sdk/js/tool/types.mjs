// Writes api.d.ts from the OpenAPI document: a type for each schema, and `Operations`, which says of each
// `METHOD /path` what it takes and gives. Plain Node: `node tool/types.mjs`, and with --check it only says,
// by its exit status, whether api.d.ts is what it would write. SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';

const here = new URL('..', import.meta.url);
const source = new URL('../../docs/openapi.json', here);
const target = new URL('api.d.ts', here);

const name = (ref) => ref.split('/').at(-1);
const key = (k) => (/^[A-Za-z_$][\w$]*$/.test(k) ? k : JSON.stringify(k));

/** A comment of one or several lines before what it describes. */
function comment(text, indent) {
  if (!text) return '';
  const lines = text.replaceAll('*/', '* /').split('\n').filter((line) => line.trim());
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}

const union = (types) => [...new Set(types)].join(' | ');

function object(s, indent) {
  const inner = indent + '  ';
  const required = new Set(s.required ?? []);
  const members = Object.entries(s.properties ?? {}).map(([k, p]) =>
    `${comment(p.description, inner)}${inner}${key(k)}${required.has(k) ? '' : '?'}: ${type(p, inner)};\n`);
  const more = s.additionalProperties;
  if (!members.length) return more && more !== true ? `Record<string, ${type(more, indent)}>` : more === false ? 'Record<string, never>' : 'Record<string, unknown>';
  return `{\n${members.join('')}${indent}}`;
}

/** The TypeScript of a schema. */
function type(s, indent = '') {
  if (s === true || s === undefined) return 'unknown';
  if (s.$ref) return name(s.$ref);
  if ('const' in s) return JSON.stringify(s.const);
  if (s.enum) return union(s.enum.map((v) => JSON.stringify(v)));
  const several = s.oneOf ?? s.anyOf;
  if (several && !s.type) return union(several.map((one) => type(one, indent)));
  if (Array.isArray(s.type)) return union(s.type.map((t) => type({ ...s, type: t }, indent)));
  switch (s.type) {
    case 'object': return object(s, indent);
    case 'array': return s.items === true || !s.items ? 'unknown[]' : `Array<${type(s.items, indent)}>`;
    case 'integer':
    case 'number': return 'number';
    case 'string': return 'string';
    case 'boolean': return 'boolean';
    case 'null': return 'null';
    default: return 'unknown';
  }
}

/** What the first answer of success holds. */
function answer(api, responses) {
  const kinds = [];
  for (const [status, given] of Object.entries(responses)) {
    if (status[0] !== '2') continue;
    const r = given.$ref ? api.components.responses[name(given.$ref)] : given;
    const [media, of] = Object.entries(r.content ?? {})[0] ?? [];
    kinds.push(!media ? 'null' : media.includes('json') ? type(of.schema, '    ') : 'string');
  }
  return union(kinds);
}

function operation(api, method, path, o) {
  const groups = { path: [], query: [], header: [] };
  for (const p of (o.parameters ?? []).map((p) => (p.$ref ? api.components.parameters[name(p.$ref)] : p)))
    groups[p.in]?.push(`${key(p.name)}${p.required ? '' : '?'}: ${type(p.schema, '    ')}`);
  const body = o.requestBody?.content?.['application/json']?.schema;
  const parts = Object.entries(groups).filter(([, list]) => list.length).map(([g, list]) =>
    `    ${g}${g === 'path' ? '' : '?'}: { ${list.join('; ')} };\n`);
  if (body) parts.push(`    body${o.requestBody.required === false ? '?' : ''}: ${type(body, '    ')};\n`);
  parts.push(`    answer: ${answer(api, o.responses)};\n`);
  return `${comment(o.summary, '  ')}  ${JSON.stringify(`${method.toUpperCase()} ${path}`)}: {\n${parts.join('')}  };\n`;
}

/** All of api.d.ts. */
export function generate(api) {
  let out = '// Written by tool/types.mjs from docs/openapi.json; change that, and run it again.\n// SPDX-License-Identifier: Apache-2.0\n';
  for (const [n, s] of Object.entries(api.components.schemas))
    out += `\n${comment(s.description, '')}export type ${n} = ${type(s)};\n`;
  out += '\n/** Every call: what it takes, and what it answers. */\nexport interface Operations {\n';
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, o] of Object.entries(methods))
      if (/^(get|put|post|patch|delete)$/.test(method) && Object.keys(o.responses).some((r) => r[0] === '2')) out += operation(api, method, path, o);
  }
  return out + '}\n';
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const text = generate(JSON.parse(readFileSync(source, 'utf8')));
  const there = (() => { try { return readFileSync(target, 'utf8'); } catch { return ''; } })();
  if (!process.argv.includes('--check')) writeFileSync(target, text);
  else if (there !== text) {
    console.error('api.d.ts is not what docs/openapi.json says: run node tool/types.mjs');
    process.exit(1);
  }
}
