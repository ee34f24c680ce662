//! The paths that are served and their methods, read from the OpenAPI document: the templates that the log and the metrics
//! name, and what `Allow` says.

use serde_json::Value;

pub(crate) struct Route {
    pub(crate) template: String,
    segments: Vec<Segment>,
    /// The value of the header `Allow`.
    pub(crate) allow: String,
}

enum Segment {
    Fixed(String),
    Any,
}

pub(crate) struct RouteTable(Vec<Route>);

impl RouteTable {
    /// `further` are paths outside the document that take `GET`.
    pub(crate) fn of_document(document: &Value, further: &[&str]) -> Self {
        let mut routes: Vec<Route> = Vec::new();
        for (template, operations) in document["paths"].as_object().into_iter().flatten() {
            let mut methods: Vec<String> = operations
                .as_object()
                .into_iter()
                .flatten()
                .map(|(method, _)| method.to_uppercase())
                .collect();
            methods.sort();
            routes.push(Route::new(template, methods.join(", ")));
        }
        routes.extend(further.iter().map(|path| Route::new(path, "GET".to_owned())));
        // A fixed segment goes before a parameter.
        routes.sort_by_key(|route| route.segments.iter().filter(|one| matches!(one, Segment::Any)).count());
        Self(routes)
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Route> {
        let given: Vec<&str> = path.split('/').collect();
        self.0.iter().find(|route| route.fits(&given))
    }
}

impl Route {
    fn new(template: &str, allow: String) -> Self {
        let segments = template.split('/').map(|segment| {
            if segment.starts_with('{') { Segment::Any } else { Segment::Fixed(segment.to_owned()) }
        });
        Self { segments: segments.collect(), template: template.to_owned(), allow }
    }

    fn fits(&self, given: &[&str]) -> bool {
        self.segments.len() == given.len()
            && self.segments.iter().zip(given).all(|(segment, part)| match segment {
                Segment::Fixed(fixed) => fixed == part,
                Segment::Any => !part.is_empty(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_template_and_what_it_allows() {
        let document = serde_json::json!({"paths": {
            "/api/jobs/{id}": {"get": {}, "delete": {}}, "/api/jobs": {"get": {}},
        }});
        let table = RouteTable::of_document(&document, &["/docs"]);
        assert_eq!(table.find("/api/jobs/x").map(|r| &*r.allow), Some("DELETE, GET"));
        assert_eq!(table.find("/api/jobs").map(|r| &*r.template), Some("/api/jobs"));
        assert!(table.find("/api/jobs/").is_none() && table.find("/api/jobs/x/y").is_none());
        assert!(table.find("/docs").is_some());
    }
}
