pragma circom 2.0.0;

include "circomlib/circuits/comparators.circom";
include "circomlib/circuits/bitify.circom";

// A private number is between MIN and MAX. The public signal ties the proof to a purpose.
template Range(MIN, MAX) {
    signal input in;
    signal input randomPublicSignal;
    signal output out;

    // The comparators assume that their inputs have no more bits.
    component bits = Num2Bits(32);
    bits.in <== in;

    component atLeast = GreaterEqThan(32);
    atLeast.in[0] <== in;
    atLeast.in[1] <== MIN;
    atLeast.out === 1;

    component atMost = LessEqThan(32);
    atMost.in[0] <== in;
    atMost.in[1] <== MAX;
    atMost.out === 1;

    signal square <== randomPublicSignal * randomPublicSignal;
    out <== square + 1;
}

component main {public [randomPublicSignal]} = Range(10, 100);
