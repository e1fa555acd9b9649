//! Images: had, or pulled once for all who wait for the same one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ImageConfig;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::engine::Up;
use super::pull::Layers;
use super::trouble::{CALL, Trouble, is_away, judge, status, text, within};
use super::{credentials, trouble};
use crate::backend::reference::Reference;
use crate::backend::{Failure, FailureKind, Progress};
use crate::config::settings::{DockerSettings, Pull};
use crate::landscape::Value;

/// Pulls at a time: more of them only share the same line.
const PULLS: usize = 3;
/// A pull in which nothing moves for so long is given up.
const STALLED: Duration = Duration::from_secs(300);

/// What a pull's waiters see.
#[derive(Clone)]
enum State {
    /// How far, once that is known.
    Going(Option<f32>),
    Done(Result<(), Trouble>),
}

/// Every pull under way.
pub(super) struct Images {
    going: Mutex<HashMap<String, Arc<watch::Sender<State>>>>,
    slots: Semaphore,
}

impl Images {
    pub(super) fn new() -> Self {
        Self { going: Mutex::new(HashMap::new()), slots: Semaphore::new(PULLS) }
    }

    /// Sees to it that the engine has `image` as `settings.pull` asks, and returns what the image
    /// says of itself. Dropping the future drops the wish; a pull nobody wants any more ends.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        up: &Up,
        settings: &Arc<DockerSettings>,
        image: &Value,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ImageConfig, Trouble> {
        let shown = if image.secret { "the image" } else { &*image.text };
        if settings.pull != Pull::Always {
            if let Some(config) = look(up, image).await? {
                return Ok(config);
            }
            if settings.pull == Pull::Never {
                return Err(failure(
                    format!(
                        "{shown} is not in the engine and `docker.pull` is `never`: load it, or set `ifNotPresent`"
                    ),
                    "The service's image is not there.",
                    true,
                )
                .into());
            }
        }
        progress(Progress { text: format!("pulling {shown}"), fraction: None });
        self.pull(up, settings, image, &|fraction| {
            progress(Progress { text: format!("pulling {shown}"), fraction: Some(fraction) });
        })
        .await?;
        let gone =
            || failure(format!("{shown} was pulled and is not there"), "The service's image is not there.", false);
        look(up, image).await?.ok_or_else(|| gone().into())
    }

    /// Joins the pull of this image, or begins one.
    async fn pull(
        self: &Arc<Self>,
        up: &Up,
        settings: &Arc<DockerSettings>,
        image: &Value,
        moved: &(dyn Fn(f32) + Send + Sync),
    ) -> Result<(), Trouble> {
        let mut state = self.join(up, settings, image);
        loop {
            match state.borrow_and_update().clone() {
                State::Done(result) => return result,
                State::Going(Some(fraction)) => moved(fraction),
                State::Going(None) => {}
            }
            if state.changed().await.is_err() {
                return Err(trouble::backend("the pull was broken off".into()).into());
            }
        }
    }

    fn join(self: &Arc<Self>, up: &Up, settings: &Arc<DockerSettings>, image: &Value) -> watch::Receiver<State> {
        let mut going = self.going.lock();
        if let Some(sender) = going.get(&*image.text) {
            return sender.subscribe();
        }
        let (sender, state) = watch::channel(State::Going(None));
        let sender = Arc::new(sender);
        going.insert(image.text.to_string(), Arc::clone(&sender));
        tokio::spawn(Arc::clone(self).run(up.clone(), Arc::clone(settings), image.clone(), sender));
        state
    }

    /// Pulls until it is done or nobody waits any more.
    async fn run(
        self: Arc<Self>,
        up: Up,
        settings: Arc<DockerSettings>,
        image: Value,
        sender: Arc<watch::Sender<State>>,
    ) {
        let mut fetch = Box::pin(self.fetch(&up, &settings, &image, &sender));
        let result = loop {
            tokio::select! {
                result = &mut fetch => break result,
                () = sender.closed() => {
                    // Joining happens under the lock: someone may have come after the last one left.
                    let mut going = self.going.lock();
                    if sender.receiver_count() == 0 {
                        going.remove(&*image.text);
                        return;
                    }
                }
            }
        };
        self.going.lock().remove(&*image.text);
        sender.send_replace(State::Done(result));
    }

    async fn fetch(
        &self,
        up: &Up,
        settings: &DockerSettings,
        image: &Value,
        state: &watch::Sender<State>,
    ) -> Result<(), Trouble> {
        let Ok(_slot) = self.slots.acquire().await else {
            return Err(trouble::backend("pulls have ended".into()).into());
        };
        let reference = Reference::parse(&image.text);
        let login = credentials::find(&reference.registry, &settings.registries).await.map_err(|why| {
            failure(
                format!("no credentials for {}: {why}", reference.registry),
                "The service's image could not be pulled.",
                false,
            )
        })?;
        let anonymous = login.is_none();
        let options =
            CreateImageOptionsBuilder::default().from_image(&reference.repository).tag(&reference.version).build();
        let mut lines = Box::pin(up.docker.create_image(Some(options), None, login));
        let mut layers = Layers::default();
        loop {
            let line = match tokio::time::timeout(STALLED, lines.next()).await {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(_) => {
                    let detail = format!("the pull did not move for {} s", STALLED.as_secs());
                    return Err(failure(detail, "The service's image could not be pulled in time.", false).into());
                }
            };
            match line {
                Ok(line) => {
                    if let Some(fraction) = layers.take(&line) {
                        state.send_replace(State::Going(Some(fraction)));
                    }
                }
                Err(error) if is_away(&error) => return Err(Trouble::Away(format!("pull: {}", text(&error)))),
                Err(error) => return Err(refused(&error, image, &reference, anonymous).into()),
            }
        }
    }
}

/// What a registry's refusal means. The engine passes the registry's own words on, in a text.
fn refused(error: &bollard::errors::Error, image: &Value, reference: &Reference, anonymous: bool) -> Failure {
    let (shown, said) = match image.secret {
        // The reference came out of the vault, and the engine's words repeat it.
        true => ("the image".to_owned(), "its words are not shown, because the reference holds a secret".to_owned()),
        false => (image.text.to_string(), text(error)),
    };
    let words = text(error).to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|n| words.contains(n));
    if has(&[
        "unauthorized",
        "no basic auth",
        "authentication required",
        "access denied",
        "forbidden",
        "incorrect username",
    ]) && !has(&["does not exist or may require"])
    {
        let registry = if image.secret { "the registry" } else { &reference.registry };
        let remedy = if anonymous {
            format!("name credentials for {registry} under `registries`, or `docker login` as the router's user")
        } else {
            format!("check the user and the password that are kept for {registry}")
        };
        let detail = format!("{registry} refused to hand out {shown}: {said}; {remedy}");
        return failure(detail, "The registry refused the service's image: access denied.", true);
    }
    if has(&["not found", "manifest unknown", "does not exist", "no such image", "name unknown", "invalid reference"]) {
        let detail = format!("{shown} does not exist, or not for this user: {said}");
        return failure(detail, "The service's image does not exist.", true);
    }
    failure(format!("{shown} could not be pulled: {said}"), "The service's image could not be pulled.", false)
}

async fn look(up: &Up, image: &Value) -> Result<Option<ImageConfig>, Trouble> {
    match within(CALL, up.docker.inspect_image(&image.text)).await {
        Ok(found) => Ok(Some(found.config.unwrap_or_default())),
        Err(e) if status(&e) == Some(404) => Ok(None),
        Err(e) if status(&e) == Some(400) => {
            let said = if image.secret { "its words would repeat a secret".to_owned() } else { text(&e) };
            let detail = format!("the engine does not take it for an image's name: {said}");
            Err(failure(detail, "The service's image does not exist.", true).into())
        }
        Err(e) => Err(judge("look for the image", &e)),
    }
}

fn failure(detail: String, public: &str, permanent: bool) -> Failure {
    Failure { kind: FailureKind::Image, public: public.into(), detail, log_tail: Vec::new(), permanent }
}
