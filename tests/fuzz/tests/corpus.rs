//! Every seed, and everything that the fuzzers found worth keeping, on stable Rust and without a fuzzer.

use std::{fs, path::Path};

use session_fuzz::{TARGETS, seeds};

#[test]
fn seeds_and_corpus_keep_the_promises() {
    for (target, check) in TARGETS {
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        println!("{target}: {} seeds, {} of the corpus", seeds.len(), files.len());
        for (number, seed) in seeds.iter().enumerate() {
            println!("{target} seed {number}");
            check(seed);
        }
        for file in &files {
            println!("{}", file.display());
            check(&fs::read(file).unwrap());
        }
    }
}
