//! Every target on its seeds and on what comes of them when bytes are changed: no tools needed.
//!
//! `SMOKE_SECONDS` (default 3) for each target; `SMOKE_SEED` repeats a run. An input that panics is
//! written to `artifacts/` and its name printed. `smoke TARGET FILE` runs one input.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use fuzz::{TARGETS, Target};

fn main() -> io::Result<ExitCode> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args: Vec<String> = env::args().skip(1).collect();
    if let [name, file] = args.as_slice() {
        let Some((_, target)) = TARGETS.iter().find(|(known, _)| known == name) else {
            eprintln!("no target is called {name}");
            return Ok(ExitCode::FAILURE);
        };
        target(&fs::read(file)?);
        return Ok(ExitCode::SUCCESS);
    }
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let span = Duration::from_secs(number("SMOKE_SECONDS").unwrap_or(3));
    let seed = number("SMOKE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SMOKE_SEED={seed}");
    let mut found = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds(&here.join("seeds").join(name))?;
        let mut inputs = Inputs { random: fastrand::Rng::with_seed(seed), seeds };
        let (begin, mut runs) = (Instant::now(), 0_usize);
        while begin.elapsed() < span || runs < inputs.seeds.len() {
            let input = inputs.input(runs);
            runs += 1;
            if fails(*target, &input) {
                let file = here.join("artifacts").join(format!("{name}-{seed}-{runs}"));
                fs::create_dir_all(here.join("artifacts"))?;
                fs::write(&file, &input)?;
                found.push(file);
                break;
            }
        }
        println!("{name}: {runs} inputs, {} of them seeds", inputs.seeds.len());
    }
    for file in &found {
        eprintln!("panicked: {}", file.display());
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fails(target: Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).is_err()
}

fn seeds(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    assert!(!files.is_empty(), "{} holds no seeds", folder.display());
    files.iter().map(fs::read).collect()
}

struct Inputs {
    random: fastrand::Rng,
    seeds: Vec<Vec<u8>>,
}

impl Inputs {
    /// The seeds first, as they are; then what comes of them.
    fn input(&mut self, run: usize) -> Vec<u8> {
        if let Some(seed) = self.seeds.get(run) {
            return seed.clone();
        }
        let mut input = self.pick();
        for _ in 0..self.random.usize(1..8) {
            self.change(&mut input);
        }
        input
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.random.usize(..self.seeds.len());
        self.seeds[at].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let from = self.random.usize(..=input.len());
        let to = (from + self.random.usize(..16)).min(input.len());
        match self.random.u8(..7) {
            0 if from < input.len() => input[from] ^= 1 << self.random.u8(..8),
            1 => input.insert(from, self.random.u8(..)),
            2 => drop(input.drain(from..to)),
            3 => drop(input.splice(from..from, input[from..to].to_vec())),
            4 => {
                // A part of another seed: grammars cross better than bytes do.
                let other = self.pick();
                let start = self.random.usize(..=other.len());
                let end = (start + self.random.usize(..64)).min(other.len());
                drop(input.splice(from..to, other[start..end].iter().copied()));
            }
            5 => {
                let marks = b"\0\t\n\r\"'{}[]:,&*!|>%@`#-?/\\.$~ \xff\xc3\xef\xbb\xbf0129";
                input.insert(from, marks[self.random.usize(..marks.len())]);
            }
            _ => input.truncate(from),
        }
    }
}
