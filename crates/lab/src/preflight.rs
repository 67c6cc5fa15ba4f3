//! What a machine must offer: each thing that is missing becomes one sentence that says what it is and how to get it.
