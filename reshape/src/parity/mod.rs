//! XOR and Reed-Solomon syndromes (P and Q), recovery of lost blocks, location of a wrong one.
