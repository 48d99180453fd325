//! The templates of this binary, by name and language.

use std::{collections::BTreeMap, sync::Arc};

use edgeprove_protocol::{HasProblemType, ProblemType};

use crate::{
    names::Language,
    template::{InvalidTemplate, Template},
};

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Templates by name. A name may have one template in each language; they differ in nothing else.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

/// The templates of one name: at least one, sorted by language.
#[derive(Debug, Clone)]
pub struct Entry {
    first: Arc<Template>,
    others: Vec<Arc<Template>>,
}

/// A template that the catalogue does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTemplate {
    /// No template has the name.
    #[error("there is no such template; the templates are: {}", known.join(", "))]
    Name {
        /// The names.
        known: Vec<String>,
    },
    /// The template of the name is in other languages.
    #[error("the template {name} is not in {language}; its languages are: {}", known.join(", "))]
    Language {
        /// The name.
        name: String,
        /// The language.
        language: Language,
        /// Its languages.
        known: Vec<String>,
    },
}

impl HasProblemType for UnknownTemplate {
    fn kind(&self) -> ProblemType {
        ProblemType::TemplateNotFound
    }
}

impl Catalogue {
    /// The templates that were embedded when this binary was built: those of `circuit/noir/templates` and
    /// `circuit/circom/templates`.
    pub fn embedded() -> Result<Self, InvalidTemplate> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let read = |(folder, files): &(&str, &[(&str, &str)])| {
            Template::read(folder, files.iter().map(owned)).map(|template| ((*folder).to_owned(), template))
        };
        Self::of(TEMPLATES.iter().map(read).collect::<Result<Vec<_>, _>>()?)
    }

    /// A catalogue of these templates, each with its folder.
    fn of(mut templates: Vec<(String, Template)>) -> Result<Self, InvalidTemplate> {
        let mut catalogue = Self::default();
        templates.sort_by_key(|(_, template)| template.language());
        for (folder, template) in &templates {
            let new = Arc::new(template.clone());
            let Some(entry) = catalogue.entries.get_mut(template.name()) else {
                catalogue
                    .entries
                    .insert(template.name().to_owned(), Entry { first: new, others: Vec::new() });
                continue;
            };
            let invalid = |reason| Err(InvalidTemplate { folder: folder.clone(), reason });
            if entry.templates().any(|other| other.language() == template.language()) {
                return invalid("another folder has the same template".to_owned());
            }
            if let Some(difference) = template.difference(&entry.first) {
                return invalid(format!(
                    "its `{difference}` differs from that of the same template in another language"
                ));
            }
            entry.others.push(new);
        }
        for (folder, template) in templates {
            catalogue.check_references(&template).map_err(|reason| InvalidTemplate { folder, reason })?;
        }
        Ok(catalogue)
    }

    /// Finds a template. Without a language it is the first one of [`Language::ALL`] that the template has.
    pub fn find(&self, name: &str, language: Option<Language>) -> Result<&Arc<Template>, UnknownTemplate> {
        let entry = self.entry(name)?;
        let Some(language) = language else { return Ok(&entry.first) };
        let found = entry.templates().find(|template| template.language() == language);
        found.ok_or_else(|| UnknownTemplate::Language {
            name: name.to_owned(),
            language,
            known: entry.templates().map(|template| template.language().to_string()).collect(),
        })
    }

    /// The templates of one name.
    pub fn entry(&self, name: &str) -> Result<&Entry, UnknownTemplate> {
        self.entries.get(name).ok_or_else(|| self.unknown_name())
    }

    /// All entries, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// All templates, by name and language.
    pub fn templates(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.entries().flat_map(Entry::templates)
    }

    fn unknown_name(&self) -> UnknownTemplate {
        UnknownTemplate::Name { known: self.entries.keys().cloned().collect() }
    }

    /// A template that names another one for its parameters is right about it.
    fn check_references(&self, template: &Template) -> Result<(), String> {
        for (parameter, other) in template.public_in() {
            let has_input = self
                .find(other, Some(template.language()))
                .is_ok_and(|other| other.public_inputs().iter().any(|input| input.name == *parameter));
            if !has_input {
                return Err(format!("`public_in`: `{other}` has no public input `{parameter}`"));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The template that a caller gets who names no language.
    #[must_use]
    pub const fn first(&self) -> &Arc<Template> {
        &self.first
    }

    /// The templates, by language.
    pub fn templates(&self) -> impl Iterator<Item = &Arc<Template>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

#[cfg(test)]
mod tests;
