//! In place of the metrics without the feature `metrics`: nothing is measured.

use std::marker::PhantomData;

use sqlx::PgPool;

use crate::observe::subject::Subject;

pub(crate) const ARE_ON: bool = false;

pub(crate) fn describe() {}

pub(crate) struct Timer<'a>(PhantomData<&'a Subject>);

impl<'a> Timer<'a> {
    pub(crate) fn start(_: &'a Subject, _: &'static str) -> Self {
        Self(PhantomData)
    }

    pub(crate) fn finish(self, _: Option<&'static str>) {}
}

pub(crate) fn count_owners(_: &Subject, _: &'static str, _: impl Iterator<Item = Option<&'static str>>) {}

pub(crate) fn count_degraded(_: &Subject, _: &'static str) {}

pub(crate) struct PoolWait;

impl PoolWait {
    pub(crate) fn start(_: &Subject, _: &PgPool) -> Self {
        Self
    }
}

pub(crate) fn count_pool_timeout(_: &Subject) {}

pub(crate) fn set_pool(_: &Subject, _: &PgPool) {}

pub(crate) fn set_reachable(_: &Subject, _: bool) {}

pub(crate) fn set_breaker(_: &Subject, _: bool) {}

pub(crate) fn set_local(_: &Subject, _: u64, _: u64) {}

pub(crate) fn set_keyring(_: &Subject, _: u64, _: u64) {}

pub(crate) fn set_tokens(_: &Subject, _: impl IntoIterator<Item = (&'static str, u64)>) {}

pub(crate) fn set_rotation(_: &Subject, _: impl IntoIterator<Item = (&'static str, u64)>) {}
