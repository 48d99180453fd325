pragma circom 2.0.0;

include "circomlib/circuits/poseidon.circom";

// Hashes in a row: about 237 constraints each, whose witness has large values.
template PoseidonChain(LENGTH) {
    signal input seed;
    signal output last;

    component hashes[LENGTH];
    for (var i = 0; i < LENGTH; i++) {
        hashes[i] = Poseidon(2);
        if (i == 0) {
            hashes[i].inputs[0] <== seed;
        } else {
            hashes[i].inputs[0] <== hashes[i - 1].out;
        }
        hashes[i].inputs[1] <== i;
    }
    last <== hashes[LENGTH - 1].out;
}
