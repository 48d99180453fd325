pragma circom 2.0.0;

// Inputs of several shapes, an assertion in a component, and a log of values and text.
template Product() {
    signal input factors[2];
    signal output out;
    assert(factors[0] != 0);
    out <== factors[0] * factors[1];
}

template Shapes() {
    signal input single;
    signal input grid[2][3];
    signal input none[0];
    signal output sum;
    signal output product;

    log("the single input is", single);
    var total = single;
    for (var i = 0; i < 2; i++) {
        for (var j = 0; j < 3; j++) {
            total += (3 * i + j + 1) * grid[i][j];
        }
    }
    sum <== total;
    component inner = Product();
    inner.factors[0] <== single;
    inner.factors[1] <== grid[1][2];
    product <== inner.out;
}

component main = Shapes();
