pragma circom 2.1.0;

include "circomlib/circuits/bitify.circom";
include "circomlib/circuits/comparators.circom";

// Proves knowledge of a number from MIN to MAX, both included. MIN and MAX have at most 64 bits.
template RangeCheck(MIN, MAX) {
    signal input value;
    signal input context;

    // The comparators are right for numbers of 64 bits only.
    component bits = Num2Bits(64);
    bits.in <== value;

    component isNotBelow = GreaterEqThan(64);
    isNotBelow.in[0] <== value;
    isNotBelow.in[1] <== MIN;
    isNotBelow.out === 1;

    component isNotAbove = LessEqThan(64);
    isNotAbove.in[0] <== value;
    isNotAbove.in[1] <== MAX;
    isNotAbove.out === 1;

    // A public signal without a constraint could be replaced in a proof.
    signal contextSquared <== context * context;
}
