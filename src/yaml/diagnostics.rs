//! The mistakes of one file as they are found.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Mistake, Place, Severity, Source};

/// After so many the rest is not worth telling.
const MAX_MISTAKES: usize = 200;

/// Collects the mistakes of one file and gives each its excerpt.
#[derive(Debug)]
pub struct Diagnostics {
    source: Source,
    mistakes: Vec<Mistake>,
    /// Takes what comes after the last one.
    overflow: Option<Mistake>,
    /// The worst of what came after it.
    overflow_severity: Severity,
}

impl Diagnostics {
    /// For a file and its text.
    pub fn new(file: Arc<PathBuf>, text: &str) -> Self {
        Self::of(Source::new(file, text))
    }

    /// For a file of which no line is ever shown: the vault's.
    pub fn hidden(file: Arc<PathBuf>) -> Self {
        Self::of(Source::hidden(file))
    }

    /// For a source.
    pub fn of(source: Source) -> Self {
        Self { source, mistakes: Vec::new(), overflow: None, overflow_severity: Severity::Note }
    }

    /// The file and its text.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Tells a mistake; more can be said with the methods of what it returns. `message` is one sentence
    /// without a full stop.
    pub fn tell(
        &mut self,
        severity: Severity,
        place: Place,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Mistake {
        let place = self.source.within(place);
        let mistake = Mistake {
            severity,
            file: self.source.file().clone(),
            place,
            field: field.into(),
            message: message.into(),
            remedy: None,
            excerpt: self.source.excerpt(place),
        };
        if self.mistakes.len() >= MAX_MISTAKES {
            self.overflow_severity = self.overflow_severity.max(severity);
            return self.overflow.insert(mistake);
        }
        self.mistakes.push(mistake);
        let last = self.mistakes.len() - 1;
        &mut self.mistakes[last]
    }

    /// Tells an error.
    pub fn error(&mut self, place: Place, field: impl Into<String>, message: impl Into<String>) -> &mut Mistake {
        self.tell(Severity::Error, place, field, message)
    }

    /// Tells a warning.
    pub fn warning(&mut self, place: Place, field: impl Into<String>, message: impl Into<String>) -> &mut Mistake {
        self.tell(Severity::Warning, place, field, message)
    }

    /// Tells a note.
    pub fn note(&mut self, place: Place, field: impl Into<String>, message: impl Into<String>) -> &mut Mistake {
        self.tell(Severity::Note, place, field, message)
    }

    /// Adds mistakes found elsewhere.
    pub fn extend(&mut self, mistakes: impl IntoIterator<Item = Mistake>) {
        self.mistakes.extend(mistakes);
    }

    /// Whether an error was told.
    pub fn has_errors(&self) -> bool {
        self.overflow_severity == Severity::Error || self.mistakes.iter().any(|m| m.severity == Severity::Error)
    }

    /// What was found so far.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Takes back those from the index `from` on that turned out to follow from others.
    pub fn forget(&mut self, from: usize, follows: impl Fn(&Mistake) -> bool) {
        let mut index = 0;
        self.mistakes.retain(|mistake| {
            index += 1;
            index <= from || !follows(mistake)
        });
    }

    /// Everything, in the file's order.
    pub fn finish(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|m| m.place);
        if let Some(last) = self.overflow {
            let message = format!("more than {MAX_MISTAKES} mistakes; the rest is not shown");
            let (severity, place) = (self.overflow_severity, Place::default());
            let field = String::new();
            self.mistakes.push(Mistake { severity, message, place, excerpt: None, remedy: None, field, ..last });
        }
        self.mistakes
    }
}

impl Mistake {
    /// Says what to do.
    pub fn help(&mut self, remedy: impl Into<String>) -> &mut Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says which of `valid` was probably meant, if one is near.
    pub fn help_nearest<'a>(&mut self, found: &str, valid: impl IntoIterator<Item = &'a str>) -> &mut Self {
        if let Some(near) = nearest(found, valid) {
            self.remedy = Some(format!("did you mean `{near}`?"));
        }
        self
    }

    /// Keeps the line out of sight, because it may hold a secret.
    pub fn hide(&mut self) -> &mut Self {
        self.excerpt = None;
        self
    }
}

/// The valid name that a misspelt one is nearest to; `None` when none is near enough to be meant.
pub fn nearest<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(found);
    let (best, distance) = valid
        .into_iter()
        .map(|name| (name, strsim::damerau_levenshtein(&wanted, &plain(name))))
        .min_by_key(|(_, distance)| *distance)?;
    let longest = wanted.chars().count().max(plain(best).chars().count());
    (distance * 3 <= longest || distance == 1 && longest == 2).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_could_be_meant() {
        assert_eq!(nearest("idelAfter", ["idleAfter", "mode"]), Some("idleAfter"));
        assert_eq!(nearest("idle-after", ["mode", "idleAfter"]), Some("idleAfter"));
        assert_eq!(nearest("colour", ["mode", "wake"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_flood_of_mistakes_is_cut_and_said() {
        let mut d = Diagnostics::new(Arc::new("f".into()), "a");
        for _ in 0..1000 {
            d.error(Place { line: 1, column: 1 }, "", "wrong");
        }
        let all = d.finish();
        assert_eq!(all.len(), MAX_MISTAKES + 1);
        assert!(all.last().unwrap().message.contains("not shown"));
    }

    #[test]
    fn an_error_among_what_is_not_shown_stays_one() {
        let mut d = Diagnostics::new(Arc::new("f".into()), "a");
        for _ in 0..MAX_MISTAKES {
            d.warning(Place::default(), "", "odd");
        }
        d.error(Place::default(), "", "wrong");
        d.warning(Place::default(), "", "odd");
        assert!(d.has_errors());
        assert_eq!(d.finish().last().map(|m| m.severity), Some(Severity::Error));
    }
}
