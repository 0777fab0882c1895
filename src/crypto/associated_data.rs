//! What a token is bound to: the associated data of its encryption (AAD), and the context of its key.

use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::token::{KeyId, MAX_HEAD, Stack, head};
use crate::record::version::Version;

const LABEL: &[u8] = b"retell-vault/v1";
/// Six lengths, the label, key id, version, two ids of at most 255 bytes, a field: 577 bytes at most.
pub(super) const MAX_CONTEXT: usize = 640;

/// What a token is sealed for. Two different purposes never have the same bytes: there are always
/// six parts, each with its length in front, and an absent tenant differs from every present one.
pub(super) fn context(key: KeyId, version: Version, owner: &Owner, field: Field) -> Stack<MAX_CONTEXT> {
    let mut bytes = Stack::new();
    push_part(&mut bytes, &[], LABEL);
    push_part(&mut bytes, &[], &key.0.to_be_bytes());
    push_part(&mut bytes, &[], &version.to_bytes());
    match owner.tenant_id() {
        Some(tenant) => push_part(&mut bytes, &[1], tenant.as_str().as_bytes()),
        None => push_part(&mut bytes, &[0], &[]),
    }
    push_part(&mut bytes, &[], owner.user_id().as_str().as_bytes());
    push_part(&mut bytes, &[], field.name().as_bytes());
    bytes
}

#[inline(always)]
fn push_part(bytes: &mut Stack<MAX_CONTEXT>, flag: &[u8], text: &[u8]) {
    let length = u16::try_from(flag.len() + text.len()).expect("ids are at most 255 bytes");
    bytes.push(&length.to_be_bytes());
    bytes.push(flag);
    bytes.push(text);
}

/// The associated data of a token (AAD): its text before the body, which names suite, key, version and field.
pub(super) fn associated_data(key: KeyId, version: Version, field: Field) -> Stack<MAX_HEAD> {
    head(key, version, field)
}
