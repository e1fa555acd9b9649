//! A ci.yml as read, before an installation is known: templates not expanded, plans not looked up.

use super::spec::{Health, Mount, Port, Step};
use super::template::{Key, Template};
use crate::yaml::{At, Diagnostics, Mistake, Place, Source};

/// A ci.yml of any version, read.
#[derive(Debug)]
pub struct LandscapeFile {
    pub(super) source: Source,
    pub(super) prepare: Vec<Step>,
    pub(super) test: Vec<Step>,
    pub(super) services: Vec<FileService>,
    /// Whether no error was told.
    pub(super) sound: bool,
}

impl LandscapeFile {
    /// Whether it holds no error of its own.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    /// The names of its services, in its order.
    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|s| &*s.name)
    }
}

/// Where a value stands, for mistakes that are found later.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) field: String,
}

impl Spot {
    pub(super) fn of(at: &At<'_>) -> Self {
        Self { place: at.place(), field: at.field.clone() }
    }

    pub(super) fn error<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.error(self.place, &*self.field, message)
    }

    pub(super) fn warning<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.warning(self.place, &*self.field, message)
    }

    pub(super) fn note<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.note(self.place, &*self.field, message)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spotted<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A text in which templates expand.
pub(super) type Text = Spotted<Template>;

#[derive(Debug)]
pub(super) struct FileService {
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) kind: FileKind,
    pub(super) plan: Option<Spotted<u32>>,
    pub(super) replicas: Option<Spotted<u32>>,
    pub(super) health: Option<Spotted<Health>>,
    /// Complete, by the rules of `network` and `isPublic`.
    pub(super) ports: Vec<Port>,
    pub(super) paths: Vec<FilePath>,
    pub(super) env: Vec<(String, Text)>,
    pub(super) user: Option<Spotted<u32>>,
    pub(super) group: Option<Spotted<u32>>,
    pub(super) mounts: Vec<Mount>,
}

#[derive(Debug)]
pub(super) enum FileKind {
    Reactive {
        steps: Vec<Step>,
        base: Option<String>,
    },
    Container {
        image: Text,
        command: Option<Vec<String>>,
    },
    CustomBase {
        image: Text,
        steps: Vec<Step>,
    },
    Headless,
    Managed {
        provider: String,
        uses: Vec<Spotted<Key>>,
    },
    /// An error was told.
    Unclear,
}

impl FileKind {
    pub(super) fn runs(&self) -> bool {
        matches!(self, Self::Reactive { .. } | Self::Container { .. } | Self::CustomBase { .. })
    }
}

#[derive(Debug)]
pub(super) struct FilePath {
    pub(super) prefix: String,
    pub(super) strip: bool,
    pub(super) to: FileTarget,
    /// Of `path`.
    pub(super) spot: Spot,
}

#[derive(Debug)]
pub(super) enum FileTarget {
    Port(u16),
    Url(Text),
}
