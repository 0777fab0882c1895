//! TODO

use crate::schema::plan::Subject;
use crate::schema::step::Draft;

pub(super) fn draft(_subject: &Subject<'_>, _draft: &mut Draft) {}
