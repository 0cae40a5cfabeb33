package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every direct dependency has a line that says why it is one, and no line outlives its dependency.
func TestDependenciesHaveReasons(t *testing.T) {
	wanted := map[string]bool{}
	for line := range strings.Lines(read(t, "../../go.mod")) {
		fields := strings.Fields(line)
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && strings.HasPrefix(line, "\t") {
			wanted[fields[0]] = true
		}
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(read(t, "../../docs/adr/dependencies.md"), -1) {
		explained[m[1]] = true
	}
	if len(wanted) == 0 || len(explained) == 0 {
		t.Fatalf("found %d dependencies and %d reasons: the test looks in the wrong place", len(wanted), len(explained))
	}
	for name := range wanted {
		if !explained[name] {
			t.Errorf("docs/adr/dependencies.md does not say why %s is a dependency", name)
		}
	}
	for name := range explained {
		if !wanted[name] {
			t.Errorf("docs/adr/dependencies.md speaks of %s, which is no direct dependency", name)
		}
	}
}

// The table that people read and the one that is enforced are the same, in the same order.
func TestDesignNamesTheRooms(t *testing.T) {
	text := read(t, "../../docs/design.md")
	planned := text[strings.Index(text, "Planned and not there yet"):]
	last := 0
	for _, room := range rooms() {
		at := regexp.MustCompile("(?m)^\\| (`[a-z]+`, )?`" + room + "`").FindStringIndex(text)
		files, err := filepath.Glob("../" + room + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case at == nil && len(files) > 0:
			t.Errorf("docs/design.md has no line for room %s", room)
		case at == nil:
			if !strings.Contains(planned[:strings.Index(planned, "\n")], "`"+room+"`") {
				t.Errorf("docs/design.md does not say that room %s is planned", room)
			}
		case at[1] < last:
			t.Errorf("docs/design.md names room %s out of its order", room)
		default:
			last = at[1]
		}
	}
}

// Every document that another one points at is there.
func TestLinksBetweenDocumentsHold(t *testing.T) {
	for _, from := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md", "docs/protocol.md", "docs/api.md", "docs/lab.md", "docs/adr/README.md"} {
		dir := "../../" + from[:strings.LastIndex(from, "/")+1]
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(read(t, "../../"+from), -1) {
			if _, err := os.Stat(dir + m[1]); err != nil {
				t.Errorf("%s points at %s, which is not there", from, m[1])
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
