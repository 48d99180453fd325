pragma circom 2.0.0;

// Fifth powers in a row: three constraints for each step, and a witness of large values. The program is a loop, so that it
// compiles fast.
template PowerChain(STEPS) {
    signal input seed;
    signal output last;

    signal values[STEPS + 1];
    signal squares[STEPS];
    signal fourths[STEPS];
    values[0] <== seed;
    for (var i = 0; i < STEPS; i++) {
        squares[i] <== (values[i] + i) * (values[i] + i);
        fourths[i] <== squares[i] * squares[i];
        values[i + 1] <== fourths[i] * (values[i] + i);
    }
    last <== values[STEPS];
}

component main = PowerChain(1000);
