// Values of inputs: what a text means for a type, and what is wrong with it.

import assert from 'node:assert/strict';
import test from 'node:test';

import { load } from '../support/module.mjs';

const { boundsOf, checkValue, emptyValue, Fault, nameOf, parseInteger, parseText, toJson, typeOf } = await load('src/prove/types.ts');

const u8 = { kind: 'integer', sign: 'unsigned', width: 8 };
const i8 = { kind: 'integer', sign: 'signed', width: 8 };
const u64 = { kind: 'integer', sign: 'unsigned', width: 64 };

test('integers are exact within the bounds of their type', () => {
  for (const [text, type, value] of [
    ['42', u8, 42n], [' 0xFF ', u8, 255n], ['-128', i8, -128n], ['18446744073709551615', u64, 2n ** 64n - 1n],
    ['1_000', u64, 1000n], ['-1', { kind: 'field' }, -1n],
  ]) {
    assert.equal(parseInteger(text, type), value, text);
  }
  for (const [text, type] of [
    ['', u8], ['256', u8], ['-1', u8], ['128', i8], ['1.5', u8], ['1e3', u64], ['0x', u64], ['ten', u8], ['18446744073709551616', u64],
    [(boundsOf({ kind: 'field' })[1] + 1n).toString(), { kind: 'field' }],
  ]) {
    assert.throws(() => parseInteger(text, type), (error) => error instanceof Fault, text);
  }
});

test('a fault never quotes the value', () => {
  for (const text of ['4242424242', 'secret']) {
    assert.throws(() => parseInteger(text, u8), (error) => !error.message.includes(text));
    assert.throws(() => checkValue(text, { kind: 'boolean' }, 'x'), (error) => !error.message.includes(text));
  }
});

test('texts have exactly the bytes of their type', () => {
  assert.equal(parseText('Bób!', 5), 'Bób!');
  assert.throws(() => parseText('Bob', 5), /5 bytes; it has 3/);
});

test('a value of JSON is checked to its leaves, and a fault has the path', () => {
  const voter = typeOf({ kind: 'struct', path: 'm::Voter', fields: [{ name: 'age', type: u8 }, { name: 'flags', type: { kind: 'array', length: 2, type: { kind: 'boolean' } } }] });
  const voters = { kind: 'array', length: 2, type: voter };
  const good = [{ age: 18, flags: [true, false] }, { age: '0x20', flags: [false, false] }];
  assert.deepEqual(checkValue(good, voters, 'voters'), [{ age: 18n, flags: [true, false] }, { age: 32n, flags: [false, false] }]);
  for (const [value, fault] of [
    [[good[0]], 'voters: This must be a list of 2 values; it has 1.'],
    [[good[0], { ...good[1], age: 256 }], 'voters[1].age: This must be a whole number from 0 to 255.'],
    [[good[0], { ...good[1], flags: [1, true] }], 'voters[1].flags[0]: This must be true or false.'],
    [[good[0], { flags: [true, true] }], 'voters[1]: The member age is missing.'],
    [[good[0], { ...good[1], other: 1 }], 'voters[1]: There is no member other.'],
    [[good[0], null], 'voters[1]: This must be an object.'],
  ]) {
    assert.throws(() => checkValue(value, voters, 'voters'), { message: fault });
  }
  assert.throws(() => checkValue(2 ** 60, u64, 'x'), /as text/);
  assert.deepEqual(checkValue([['1', 2], '3'], { kind: 'signal' }, 'in'), [[1n, 2n], 3n]);
});

test('types of a newer server are unknown, and every type has a name and a first value', () => {
  assert.deepEqual(typeOf({ kind: 'new' }), { kind: 'unknown' });
  assert.deepEqual(typeOf(undefined), { kind: 'unknown' });
  const type = typeOf({ kind: 'tuple', fields: [u64, { kind: 'string', length: 2 }, { kind: 'array', length: 2, type: i8 }] });
  assert.equal(nameOf(type), '(u64, str<2>, [i8; 2])');
  assert.equal(toJson(emptyValue(type)), '["0","  ",["0","0"]]');
  assert.equal(toJson({ a: 2n ** 70n }), '{"a":"1180591620717411303424"}');
});
