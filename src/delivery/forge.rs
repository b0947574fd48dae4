//! What every forge's file is asked: is this from you, and what does it tell?
//!
//! A forge is a file with two functions, `proof` and `read`; [`proof`] and [`read`] here find the right one. Line: how
//! an answer is put into a sentence, a status or a deployment is not a forge's affair.

use super::happening::Happening;
use super::payload::Format;
use super::{AppTrigger, Refusal, RequestHead, bitbucket, generic, gitea, github, gitlab, shown};
use crate::base::CommitId;
use crate::config::Forge;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The bytes of a request, and how they are written.
pub(super) struct Sent<'a> {
    pub body: &'a [u8],
    pub format: Format,
}

impl<'a> Sent<'a> {
    /// The JSON in the body. Decodes a form each time: before a proof only where what was signed is the JSON.
    pub(super) fn json(&self) -> Result<Cow<'a, [u8]>, Refusal> {
        self.format.json(self.body)
    }
}

/// Whether a request is from whom it says it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Proof {
    Fits,
    Fails,
    /// The signature fits, and the time that was signed is not now; a sentence why.
    Untimely(String),
}

impl Proof {
    pub(super) fn when(fits: bool) -> Proof {
        if fits { Proof::Fits } else { Proof::Fails }
    }
}

/// What a genuine delivery tells.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// The forge's delivery id.
    pub id: Option<String>,
    /// The event's name as the forge sent it.
    pub event: String,
    /// As the forge names it: `owner/name`.
    pub repository: Option<Cow<'a, str>>,
    /// Most often one; a push may be about several branches.
    pub happenings: Vec<Happening<'a>>,
}

/// What a forge's file makes of the JSON of one event: the repository, and what happened.
pub(super) type Read<'a> = Result<(Option<Cow<'a, str>>, Vec<Happening<'a>>), serde_json::Error>;

/// Whether `app`'s forge sent this with one of its secrets.
pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    match app.forge {
        Forge::Github => github::proof(app, head, sent),
        Forge::Gitlab => gitlab::proof(app, head, sent),
        Forge::Gitea | Forge::Forgejo | Forge::Gogs => gitea::proof(app, head, sent),
        Forge::Bitbucket => bitbucket::proof(app, head, sent),
        Forge::Generic => generic::proof(app, head, sent),
    }
}

/// Reads a delivery that is known to be genuine; `app` is one of those whose secret fits.
pub(super) fn read<'a>(app: &AppTrigger, head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    match app.forge {
        Forge::Github => github::read(head, json),
        Forge::Gitlab => gitlab::read(head, json),
        Forge::Gitea | Forge::Forgejo | Forge::Gogs => gitea::read(head, json),
        Forge::Bitbucket => bitbucket::read(head, json),
        Forge::Generic => generic::read(app, head, json),
    }
}

/// The first of `headers` that is there, as a delivery id. Ids are kept for a long time: what is kept is bounded.
pub(super) fn delivery_id(head: &RequestHead<'_>, headers: &[&str]) -> Result<Option<String>, Refusal> {
    let Some((header, id)) = headers.iter().find_map(|header| Some((*header, head.header(header)?))) else {
        return Ok(None);
    };
    let good = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    match good {
        true => Ok(Some(id.to_owned())),
        false => Err(Refusal::new(400, format!("the header {header} is not a delivery id"))),
    }
}

/// The event's name, from the first of `headers` that is there.
pub(super) fn event_name<'a>(head: &RequestHead<'a>, headers: &[&str]) -> Result<&'a str, Refusal> {
    let header = headers.first().copied().unwrap_or_default();
    match headers.iter().find_map(|header| head.header(header)) {
        Some(name) if is_event_name(name) => Ok(name),
        Some(_) => Err(Refusal::new(400, format!("the header {header} is not an event's name"))),
        None => Err(Refusal::new(400, format!("the header {header} is missing"))),
    }
}

/// Names are kept with the delivery: short ones, of visible characters and blanks (`Push Hook`).
pub(super) fn is_event_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// What a known forge makes of an event it has no use for.
pub(super) fn other<'a>(event: &str) -> Read<'a> {
    Ok((None, vec![Happening::Nothing(format!("the event {} deploys nothing", shown(event)))]))
}

/// What is said to the first delivery of all.
pub(super) fn ping<'a>() -> Read<'a> {
    Ok((None, vec![Happening::Nothing("ping: the hook reaches pintle and its secret fits".to_owned())]))
}

/// A commit in a payload. Hex digits may be capital; only zeros stand for none.
pub(super) fn commit(text: &str) -> Result<Option<CommitId>, serde_json::Error> {
    if !text.is_empty() && text.bytes().all(|digit| digit == b'0') {
        return Ok(None);
    }
    let commit = CommitId::new(text.to_ascii_lowercase());
    commit.map(Some).map_err(|_| bad(format!("{} is not a full commit id (40 or 64 hex digits)", shown(text))))
}

/// A commit that must be one.
pub(super) fn some_commit(text: &str) -> Result<CommitId, serde_json::Error> {
    commit(text)?.ok_or_else(|| bad("a commit id is all zeros"))
}

/// What is wrong with a payload although it is JSON.
pub(super) fn bad(wrong: impl fmt::Display) -> serde_json::Error {
    de::Error::custom(wrong)
}

/// Entries of a list that are read. A push of more branches and tags than these is not one that deploys.
pub(super) const MOST_CHANGES: usize = 500;

/// Reads a list of at most [`MOST_CHANGES`].
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST_CHANGES}")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = list.next_element()? {
                if all.len() == MOST_CHANGES {
                    return Err(de::Error::invalid_length(all.len() + 1, &self));
                }
                all.push(entry);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Few(PhantomData))
}
