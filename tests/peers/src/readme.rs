//! The README's table.

use crate::report::{Section, Table};

const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- /figures -->";

/// Puts the figures between the marks of a README.
pub fn refresh(readme: &str, machine: &str, sections: &[Section]) -> Result<String, String> {
    let missing = |mark| format!("README.md has no line `{mark}`");
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    let mut table = Table::new(["", "Session", "others, to Session's"]);
    for figure in sections.iter().flat_map(|section| &section.figures) {
        table.row([figure.work.clone(), figure.session.clone(), figure.others.clone()]);
    }
    Ok(format!("{before}{BEGIN}\n{}\n{machine}\n{END}{after}", table.markdown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let mut section = Section::new("");
        section.figure("open", "1 µs", "a jar 2.0×");
        let readme = format!("# Before\n{BEGIN}\nold\n{END}\n# After\n");
        let refreshed = refresh(&readme, "a machine", &[section]).unwrap();
        assert!(refreshed.starts_with("# Before\n") && refreshed.ends_with("\n# After\n"));
        assert!(refreshed.contains("| open | 1 µs | a jar 2.0× |") && !refreshed.contains("old"));
        assert_eq!(refresh(&refreshed, "a machine", &[]).unwrap().matches(BEGIN).count(), 1);
        assert!(refresh("# Nothing\n", "", &[]).is_err());
    }
}
