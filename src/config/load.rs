//! Reads router.yaml and every ci.yml it names.
//!
//! router.yaml is all or nothing. Each ci.yml stands alone: a bad one keeps its landscape's last good
//! version, and where there never was one, that landscape alone is invalid.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::build::build;
use super::checks::Checks;
use super::files::Files;
use super::kubernetes;
use super::landscapes::{self, Outcome};
use super::last_good::{GoodLandscapes, LastGood};
use super::model::Router;
use super::places::Places;
use super::pointer::Pointer;
use super::prune::{prune, same_part};
use super::settings::Settings;
use super::validate;
use super::walk::walk;
use crate::landscape::Vault;
use crate::yaml::{self, Diagnostics, Mistake, Severity};

/// What a configuration is read for.
#[derive(Clone, Copy)]
pub enum Purpose<'p> {
    /// To be judged: the state folder is neither read nor written, nothing stands in for what is bad.
    Check,
    /// To be run.
    Run {
        /// The configuration in force, for landscapes whose files are bad.
        previous: Option<&'p Settings>,
    },
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// Nothing where router.yaml holds an error. A landscape may be invalid all the same.
    pub settings: Option<Settings>,
    /// Everything there is to say: router.yaml's first, then each ci.yml's.
    pub mistakes: Vec<Mistake>,
    /// The files to watch, absolute; router.yaml alone where it says no others.
    pub files: Files,
    /// What to keep for bad times, once `settings` are in force.
    pub good: GoodLandscapes,
    /// Where the keys of router.yaml stand.
    pub pointer: Pointer,
}

impl Loaded {
    /// Whether any file holds an error; with `strict`, or a warning.
    pub fn has_errors(&self, strict: bool) -> bool {
        let least = if strict { Severity::Warning } else { Severity::Error };
        self.mistakes.iter().any(|m| m.severity >= least)
    }
}

/// Reads a router.yaml and what it names. Blocks on files.
pub fn load(file: &Path, purpose: Purpose<'_>) -> Loaded {
    load_with(file, purpose, std::env::vars_os())
}

/// [`load`] with the router's environment given.
fn load_with(file: &Path, purpose: Purpose<'_>, variables: impl Iterator<Item = (OsString, OsString)>) -> Loaded {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let name = Arc::new(file.to_owned());
    let mut files = Files::default();
    let read = yaml::file::read(&path);
    files.add(&path, read.as_deref());
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(unread) => {
            let mut diagnostics = Diagnostics::hidden(name);
            unread.tell(&mut diagnostics);
            return nothing(diagnostics, files);
        }
    };
    let (root, mistakes) = yaml::parse(name.clone(), &bytes, Severity::Error);
    let mut diagnostics = Diagnostics::of(yaml::Source::of_bytes(name, &bytes));
    diagnostics.extend(mistakes);
    let Some(mut root) = root else { return nothing(diagnostics, files) };
    let places = Places::of(&root);
    let before = diagnostics.mistakes().len();
    walk(&root, &mut diagnostics);
    // What is refused is taken out, so that the rest is judged in the same go.
    let refused: HashSet<String> = diagnostics.mistakes()[before..].iter().map(|m| m.field.clone()).collect();
    prune(&mut root, &refused);
    let mut hidden = Diagnostics::hidden(Arc::default());
    let told = if refused.is_empty() { &mut diagnostics } else { &mut hidden };
    let Some(router) = build(&root, told) else { return nothing(diagnostics, files) };
    let after = diagnostics.mistakes().len();
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut checks = Checks { diagnostics: &mut diagnostics, places: &places, folder: &folder };
    let shown_folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut elsewhere = Vec::new();
    let mut new = validate::settings(&router, &mut checks);
    let plans = validate::plans(&router, &mut checks);
    let vault = vault(&router, &mut checks, &shown_folder, &mut elsewhere, &mut files, variables);
    for (_, registry) in &new.docker.registries {
        // Read when it is needed.
        files.add(&registry.password_file, Err(()));
    }
    let bad_vault = elsewhere.iter().any(|m| m.severity == Severity::Error);

    let last_good = LastGood::of(&new.state);
    let reader = landscapes::Reader {
        router: &router,
        settings: &new,
        plans: &plans,
        vault: &vault,
        folder: &shown_folder,
        purpose,
        last_good: &last_good,
        rough: !refused.is_empty(),
    };
    let entries = landscapes::entries(&router, &new, &mut checks);
    let mut outcomes = Vec::new();
    for entry in &entries {
        outcomes.push(reader.read(entry, &mut checks, &mut files));
    }
    let (mut landscapes, mut texts) = (Vec::new(), Vec::new());
    for Outcome { landscape, mistakes, text } in outcomes {
        elsewhere.extend(mistakes);
        texts.extend(text.map(|text| (landscape.id.clone(), text)));
        landscapes.push(landscape);
    }
    kubernetes::attached_twice(&landscapes, &new.kubernetes, &mut checks);
    new.landscapes = landscapes;
    // What is missing in a part that was refused may be missing because it was.
    diagnostics.forget(after, |m| refused.iter().any(|path| same_part(path, &m.field)));
    let sound = !diagnostics.has_errors() && !bad_vault;
    let source = diagnostics.source().clone();
    let mut mistakes = diagnostics.finish();
    mistakes.extend(elsewhere);
    let ids = new.landscapes.iter().map(|l| l.id.clone()).collect();
    let good = GoodLandscapes { state: new.state.clone(), texts, ids };
    Loaded { settings: sound.then_some(new), mistakes, files, good, pointer: Pointer::new(source, places) }
}

fn nothing(diagnostics: Diagnostics, files: Files) -> Loaded {
    let (good, pointer) = (GoodLandscapes::default(), Pointer::nowhere(diagnostics.source()));
    Loaded { settings: None, mistakes: diagnostics.finish(), files, good, pointer }
}

/// Secrets. A vault's file that is bad is an error of the whole configuration.
fn vault(
    router: &Router,
    c: &mut Checks<'_>,
    shown_folder: &Path,
    mistakes: &mut Vec<Mistake>,
    files: &mut Files,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Vault {
    let Some(vault) = &router.vault else { return Vault::default() };
    match (&vault.file, &vault.env) {
        (Some(file), None) => {
            let path = c.resolve(file);
            let name = Arc::new(shown_folder.join(file));
            if others_may_read(&path) {
                c.warning("vault.file", "others than its owner may read the file with the secrets")
                    .help(format!("chmod 600 {}", name.display()));
            }
            let read = yaml::file::read(&path);
            files.add(&path, read.as_deref());
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(unread) => {
                    c.error("vault.file", format!("{}: {}", name.display(), unread.message)).help(unread.remedy);
                    return Vault::default();
                }
            };
            let (vault, more) = Vault::from_yaml(name, &bytes);
            mistakes.extend(more);
            vault.unwrap_or_default()
        }
        (None, Some(prefix)) => {
            let (vault, left_out) = Vault::from_env(prefix, variables);
            for sentence in left_out {
                c.warning("vault.env", sentence);
            }
            vault
        }
        _ => {
            c.error("vault", "expected one of `file` and `env`").help("`vault: { file: secrets.yaml }`");
            Vault::default()
        }
    }
}

fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o007 != 0)
}
