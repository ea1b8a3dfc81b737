// node validate.js FILE: exits 1 and prints each problem where the document is not a valid AsyncAPI document.
import { readFileSync } from 'node:fs';
import { AvroSchemaParser } from '@asyncapi/avro-schema-parser';
import { Parser } from '@asyncapi/parser';

const parser = new Parser({ schemaParsers: [AvroSchemaParser()] });
const { document, diagnostics } = await parser.parse(readFileSync(process.argv[2], 'utf8'));
const errors = diagnostics.filter((each) => each.severity === 0);
for (const each of errors) console.error(`${each.path.join('.')}: ${each.message}`);
if (!document || errors.length) process.exit(1);
console.log(JSON.stringify({
  channels: document.channels().all().length,
  messages: document.allMessages().all().length,
  warnings: diagnostics.filter((each) => each.severity === 1).map((each) => `${each.path.join('.')}: ${each.message}`),
}));
