//! Replaces the local file if the feature `local-file` is off: no value can exist, so no method is ever reached.

use std::path::{Path, PathBuf};

use crate::chain::local_event::LocalEvent;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::{
    Basis, Counts, Kept, KeptKind, LedgerLines, LocalCount, LocalPlace, LocalRecord, LocalText, OwnerRows,
    PushNote, PutPending, Swap, UnsentEntry,
};
use crate::record::owner::Owner;
use crate::record::token::KeyId;
use crate::record::version::{Millis, Version};

/// No value of this type exists.
#[derive(Clone)]
pub(crate) enum LocalFile {}

impl LocalFile {
    /// # Errors
    /// Always `Configuration`.
    pub(crate) async fn open(_path: &Path) -> Result<Self> {
        Err(Error::new(ErrorKind::Configuration, "this program was built without the feature `local-file`"))
    }

    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn in_memory() -> Result<Self> {
        Self::open(Path::new("")).await
    }

    pub(crate) async fn close(&self) {
        match *self {}
    }

    pub(crate) fn path(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn set_aside(&self) -> Vec<PathBuf> {
        match *self {}
    }

    pub(crate) async fn put_pending(
        &self,
        _record: &LocalRecord,
        _basis: Basis,
        _event: Option<&LocalEvent>,
    ) -> Result<PutPending> {
        match *self {}
    }

    pub(crate) async fn put_over(&self, _there: Option<Version>, _record: &LocalRecord) -> Result<bool> {
        match *self {}
    }

    pub(crate) fn nothing_pending(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn pending(&self, _owner: &Owner) -> Result<Option<LocalRecord>> {
        match *self {}
    }

    pub(crate) async fn pending_after(
        &self,
        _after: Option<&Owner>,
        _limit: u32,
    ) -> Result<Vec<LocalRecord>> {
        match *self {}
    }

    pub(crate) async fn pending_beyond(&self, _after: (&str, &str), _limit: u32) -> Result<Vec<LocalRecord>> {
        match *self {}
    }

    pub(crate) async fn blocked(&self, _rows: &OwnerRows) -> Result<u64> {
        match *self {}
    }

    pub(crate) async fn oldest_pending(&self) -> Result<Option<Millis>> {
        match *self {}
    }

    pub(crate) async fn remove_pending(
        &self,
        _owner: &Owner,
        _text: &str,
        _event: Option<&LocalEvent>,
    ) -> Result<bool> {
        match *self {}
    }

    pub(crate) async fn supersede(
        &self,
        _owner: &Owner,
        _version: Version,
        _rows: &OwnerRows,
        _event: Option<&LocalEvent>,
    ) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn note_refusal(
        &self,
        _owner: &Owner,
        _text: &str,
        _now: Millis,
    ) -> Result<(u32, Millis)> {
        match *self {}
    }

    pub(crate) async fn retry_dead_letters(
        &self,
        _owner: Option<&Owner>,
        _now: Option<Millis>,
        _event: Option<&LocalEvent>,
    ) -> Result<u64> {
        match *self {}
    }

    pub(crate) async fn keep(
        &self,
        _owner: &Owner,
        _kind: KeptKind,
        _text: &str,
        _reason: &str,
        _at: Millis,
    ) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn set_pending_aside(
        &self,
        _owner: &Owner,
        _text: &str,
        _kind: KeptKind,
        _reason: &str,
        _at: Millis,
        _event: Option<&LocalEvent>,
    ) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn kept_after(&self, _after_id: i64, _limit: u32) -> Result<Vec<Kept>> {
        match *self {}
    }

    pub(crate) async fn purge_kept(&self, _before: Millis) -> Result<u64> {
        match *self {}
    }

    pub(crate) async fn put_replica(
        &self,
        _owner: &Owner,
        _rows: &OwnerRows,
        _version: Version,
        _text: &str,
        _at: Millis,
    ) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn remove_replica(&self, _owner: &Owner, _rows: &OwnerRows) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn never_retry(&self, _owner: &Owner) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn replica(&self, _owner: &Owner, _rows: &OwnerRows) -> Result<Option<LocalRecord>> {
        match *self {}
    }

    pub(crate) async fn forget(&self, _owner: &Owner, _event: Option<&LocalEvent>) -> Result<Counts> {
        match *self {}
    }

    pub(crate) async fn counts(&self) -> Result<Counts> {
        match *self {}
    }

    pub(crate) async fn holds_tokens(&self) -> Result<bool> {
        match *self {}
    }

    pub(crate) async fn canaries(&self) -> Result<Vec<(KeyId, Vec<u8>)>> {
        match *self {}
    }

    pub(crate) async fn put_canary(&self, _key: KeyId, _sealed: &[u8]) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn claim(&self, _namespace: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn keyring_generation(&self) -> Result<Option<u64>> {
        match *self {}
    }

    pub(crate) async fn note_keyring_generation(&self, _generation: u64) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn sealed_keyring(&self) -> Result<Option<(u64, String)>> {
        match *self {}
    }

    pub(crate) async fn note_sealed_keyring(&self, _generation: u64, _text: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn used_with(&self) -> Result<Vec<String>> {
        match *self {}
    }

    pub(crate) async fn note_used_with(&self, _place: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn used_since(&self) -> Result<Option<Millis>> {
        match *self {}
    }

    pub(crate) async fn note_used_since(&self, _now: Millis) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn database_at(&self, _address: &str) -> Result<Option<String>> {
        match *self {}
    }

    pub(crate) async fn note_database_at(&self, _address: &str, _identity: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn begin_push(&self, _id: &str, _mark: &str) -> Result<PushNote> {
        match *self {}
    }

    pub(crate) async fn end_push(&self, _note: &PushNote) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn set_all_pending_aside(
        &self,
        _note: &PushNote,
        _reason: &str,
        _id: &str,
        _at: Millis,
        _event: Option<&LocalEvent>,
    ) -> Result<Option<u64>> {
        match *self {}
    }

    pub(crate) async fn has_adopted(&self, _place: &str) -> Result<bool> {
        match *self {}
    }

    pub(crate) async fn note_adopted(&self, _place: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn put_ledger_copies(&self, _copies: &LedgerLines, _now: Millis) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn unsent(&self, _limit: u32) -> Result<Vec<UnsentEntry>> {
        match *self {}
    }

    pub(crate) async fn count_unsent(&self) -> Result<u64> {
        match *self {}
    }

    pub(crate) async fn remove_unsent(&self, _last: i64) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn ledger_lines(&self) -> Result<Vec<String>> {
        match *self {}
    }

    pub(crate) async fn texts_after(
        &self,
        _place: LocalPlace,
        _after: i64,
        _limit: u32,
    ) -> Result<Vec<LocalText>> {
        match *self {}
    }

    pub(crate) async fn swap_texts(&self, _place: LocalPlace, _swaps: &[Swap]) -> Result<u64> {
        match *self {}
    }

    pub(crate) async fn tokens_per_key(&self) -> Result<Vec<LocalCount>> {
        match *self {}
    }
}
