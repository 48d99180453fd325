// Compares the types of src/wire.ts with the OpenAPI document of the server.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import ts from 'typescript-api';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const { schemas } = JSON.parse(readFileSync(path('../../../../docs/openapi.json'), 'utf8')).components;

/** Each interface with the schema of the server. */
const INTERFACES = {
  ProblemDocument: 'Problem',
  StageTime: 'StageTime',
  JobDocument: 'JobDocument',
  NewVoucher: 'NewVoucher',
  JobPage: 'JobPage',
  ServerTimings: 'Timings',
  Cost: 'Cost',
  ProofAnswer: 'ProofAnswer',
  Calldata: 'Calldata',
  CircuitFile: 'CircuitFile',
  CircuitVerifier: 'CircuitVerifier',
  Deployment: 'DeploymentEntry',
  CircuitEntry: 'CircuitEntry',
  BuildProgress: 'BuildProgress',
  PowersOfTau: 'PowersOfTau',
  Circuit: 'CircuitDetails',
  CircuitPage: 'CircuitList',
  TemplateEntry: 'TemplateSummary',
  Template: 'TemplateDocument',
  Verdict: 'Verdict',
  ServiceDocument: 'ServiceDocument',
  ReceiptKey: 'ReceiptKeyDocument',
  Receipt: 'Receipt',
  SealingKey: 'SealingKeyDocument',
  Health: 'Health',
};

/** Interfaces that the contract has in place, without a name. */
const IN_PLACE = ['Groth16Proof', 'CircuitInput'];

/** Each alias of words with the schema of the server. */
const WORDS = { Target: 'Target', Priority: 'Priority', JobStatus: 'JobStatus', JobStage: 'JobStage' };

const file = path('../../src/wire.ts');
const program = ts.createProgram([file], { strict: true, noEmit: true, target: ts.ScriptTarget.ES2022 });
const checker = program.getTypeChecker();
const source = program.getSourceFile(file);
const declared = new Map(
  checker.getExportsOfModule(checker.getSymbolAtLocation(source)).map((symbol) => [symbol.name, symbol]),
);
const typeOf = (name) => checker.getDeclaredTypeOfSymbol(declared.get(name));

/** The schema that a reference leads to, without the alternative `null`. */
function resolved(schema) {
  if (schema.$ref) return resolved(schemas[schema.$ref.split('/').at(-1)]);
  const others = schema.anyOf?.filter((part) => part.type !== 'null');
  return others?.length === 1 ? resolved(others[0]) : schema;
}

function mayBeNull(schema) {
  return [schema.type].flat().includes('null') || (schema.anyOf ?? []).some((part) => part.type === 'null');
}

/** The words that a schema allows; `undefined` where it allows any text. */
function wordsOf(schema) {
  const { enum: words, oneOf } = resolved(schema);
  if (words) return words;
  const all = oneOf?.map((part) => part.enum ?? ('const' in part ? [part.const] : undefined));
  return all?.every(Boolean) ? all.flat() : undefined;
}

/** The texts of a type; `undefined` where it has others than these. */
function textsOf(type) {
  const parts = (type.isUnion() ? type.types : [type]).filter(
    (part) => !(part.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Null)),
  );
  return parts.length > 0 && parts.every((part) => part.isStringLiteral()) ? parts.map((part) => part.value) : undefined;
}

function compare(type, schema, at) {
  const properties = checker.getPropertiesOfType(type);
  assert.deepEqual(
    properties.map((property) => property.name).sort(),
    Object.keys(schema.properties).sort(),
    `${at}: the members`,
  );
  for (const property of properties) {
    const name = `${at}.${property.name}`;
    const member = schema.properties[property.name];
    const found = checker.getTypeOfSymbol(property);
    const isOptional = Boolean(property.flags & ts.SymbolFlags.Optional);
    const parts = found.isUnion() ? found.types : [found];
    const isNullable = parts.some((part) => part.flags & ts.TypeFlags.Null);
    const isRequired = (schema.required ?? []).includes(property.name);
    assert.ok(isOptional || isRequired, `${name} may be missing`);
    // The server leaves out what is null, where a member may be missing.
    const isAny = Boolean(found.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown));
    assert.ok(isNullable || isAny || isOptional || !mayBeNull(member), `${name} may be null`);
    const words = textsOf(found);
    const expected = wordsOf(member);
    // The types may know words of what the contract has as any text, but not other ones than it lists.
    if (words && expected) assert.deepEqual(words.sort(), [...expected].sort(), `${name}: the words`);
    const inner = checker.getNonNullableType(found);
    const target = resolved(member);
    if (target.properties && inner.isClassOrInterface?.() === false && inner.getProperties().length > 0 && !inner.isUnion()) {
      compare(inner, target, name);
    }
  }
}

for (const [name, schema] of Object.entries(INTERFACES)) {
  test(`${name} has the members of the contract`, () => compare(typeOf(name), schemas[schema], name));
}

for (const [name, schema] of Object.entries(WORDS)) {
  test(`${name} has the words of the contract`, () =>
    assert.deepEqual(textsOf(typeOf(name)).sort(), [...wordsOf(schemas[schema])].sort()));
}

test('every interface is compared', () => {
  const interfaces = [...declared].filter(([, symbol]) => symbol.flags & ts.SymbolFlags.Interface).map(([name]) => name);
  assert.deepEqual(interfaces.filter((name) => !(name in INTERFACES) && !IN_PLACE.includes(name)), []);
});
