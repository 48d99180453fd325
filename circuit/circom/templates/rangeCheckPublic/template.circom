pragma circom 2.1.0;

include "circomlib/circuits/bitify.circom";
include "circomlib/circuits/comparators.circom";

// Proves knowledge of a number from min to max, both included. The bounds are public, so one circuit serves all bounds.
template RangeCheckPublic() {
    signal input value;
    signal input min;
    signal input max;
    signal input context;

    // The comparators are right for numbers of 64 bits only.
    component bits[3];
    for (var i = 0; i < 3; i++) {
        bits[i] = Num2Bits(64);
    }
    bits[0].in <== value;
    bits[1].in <== min;
    bits[2].in <== max;

    component isNotBelow = GreaterEqThan(64);
    isNotBelow.in[0] <== value;
    isNotBelow.in[1] <== min;
    isNotBelow.out === 1;

    component isNotAbove = LessEqThan(64);
    isNotAbove.in[0] <== value;
    isNotAbove.in[1] <== max;
    isNotAbove.out === 1;

    // A public signal without a constraint could be replaced in a proof.
    signal contextSquared <== context * context;
}
