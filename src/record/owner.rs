//! The owner of a configuration.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};

/// Longest id in bytes. Postgres indexes take far more; a longer one is a mistake.
const MAX_ID: usize = 255;

/// The id of a user, as the application knows it: 1 to 255 bytes, no control characters.
///
/// Ids are compared byte by byte: ids that differ only in case, Unicode form or surrounding space
/// belong to different users. The exception is a UUID in its hyphenated form, which means the same
/// in upper and lower case; it has one canonical form, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Id);

/// The id of a tenant. The same rules as for [`UserId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Id);

/// Equality, order and hash are those of the canonical form.
#[derive(Debug, Clone)]
struct Id {
    canonical: String,
    given: Option<String>,
}

impl Id {
    fn parse(text: &str, what: &str) -> Result<Self> {
        let problem = match text {
            "" => "must not be empty",
            _ if text.len() > MAX_ID => "must be at most 255 bytes",
            _ if text.chars().any(char::is_control) => "must not hold control characters",
            _ => return Ok(Self::new(text)),
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("{what} {problem}")))
    }

    fn new(text: &str) -> Self {
        let canonical = canonical_uuid(text).unwrap_or_else(|| text.to_owned());
        let given = (canonical != text).then(|| text.to_owned());
        Self { canonical, given }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

/// Only the hyphenated form counts as a UUID: 32 hex digits may be any application's own id.
fn canonical_uuid(text: &str) -> Option<String> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    Some(uuid.hyphenated().to_string())
}

macro_rules! id_type {
    ($type:ident, $what:literal) => {
        impl $type {
            /// The canonical form, which seals and local records are bound to.
            pub fn as_str(&self) -> &str {
                &self.0.canonical
            }

            /// The forms that a text column may hold: canonical, and as given if that differs.
            pub(crate) fn forms(&self) -> impl Iterator<Item = &str> + Clone {
                [Some(self.0.canonical.as_str()), self.0.given.as_deref()].into_iter().flatten()
            }

            pub(crate) fn has_one_form(&self) -> bool {
                self.0.given.is_none()
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Id::parse(text, $what).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

id_type!(UserId, "user id");
id_type!(TenantId, "tenant id");

/// The owner of a configuration: a user, in a tenant if the application has tenants.
///
/// ```
/// use retell_vault::Owner;
///
/// let owner = Owner::user("user-42")?;
/// let other = Owner::user("user-42")?.in_tenant("acme")?;
/// assert_ne!(owner, other);
/// # Ok::<(), retell_vault::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    tenant: Option<TenantId>,
    user: UserId,
}

impl Owner {
    /// Whether both ids have one form only: a UUID that was not given in its canonical form has two.
    pub(crate) fn has_one_form(&self) -> bool {
        self.user_id().has_one_form() && self.tenant_id().is_none_or(TenantId::has_one_form)
    }

    /// An owner without a tenant.
    ///
    /// # Errors
    /// `InvalidInput` when the id is empty, longer than 255 bytes or holds control characters.
    pub fn user(id: &str) -> Result<Self> {
        Ok(Self { tenant: None, user: id.parse()? })
    }

    /// The same user in a tenant.
    ///
    /// # Errors
    /// As [`Owner::user`].
    pub fn in_tenant(mut self, id: &str) -> Result<Self> {
        self.tenant = Some(id.parse()?);
        Ok(self)
    }

    /// The user.
    pub fn user_id(&self) -> &UserId {
        &self.user
    }

    /// The tenant, if there is one.
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }
}

/// For messages: `tenant/user` in [visible](crate::display::visible()) form. The ids themselves are [`UserId::as_str`] and [`TenantId::as_str`].
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = &self.tenant {
            write!(f, "{}/", visible(tenant.as_str()))?;
        }
        f.write_str(&visible(self.user.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_canonical_form_and_keeps_the_given_one_for_text_columns() {
        let upper: UserId = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11".parse().unwrap();
        let lower: UserId = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.as_str(), lower.as_str());
        assert_eq!(upper.forms().count(), 2);
        assert_eq!(lower.forms().count(), 1);
    }

    #[test]
    fn ids_that_only_look_alike_are_different_users() {
        let forms = ["josé", "jose\u{301}", "JOSÉ", " josé", "josé ", "a0eebc999c0b4ef8bb6d6bb9bd380a11"];
        let ids: std::collections::HashSet<UserId> = forms.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!(ids.len(), forms.len());
    }

    #[test]
    fn empty_oversized_and_control_characters_are_refused() {
        for bad in ["", "a\0b", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(bad.parse::<UserId>().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
