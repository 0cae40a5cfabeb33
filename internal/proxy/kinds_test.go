package proxy

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

// matched are the first groups of all matches, once each, in order.
func matched(text, pattern string) []string {
	set := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		set[m[1]] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// Every kind is documented, and what the code tells of is a kind.
func TestKindsAreTold(t *testing.T) {
	if !slices.IsSorted(node.Kinds()) {
		t.Error("kinds are not in order")
	}
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Events\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var first []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			first = append(first, cells[1])
		}
	}
	if diff := cmp.Diff(node.Kinds(), matched(strings.Join(first, ""), "`([a-z._]+)`")); diff != "" {
		t.Errorf("kinds and docs/api.md (-kinds +docs):\n%s", diff)
	}
	var code strings.Builder
	for _, dir := range []string{"../node", "."} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && !strings.HasSuffix(f, "_test.go") && filepath.Base(f) != "kinds.go" {
				code.Write(b)
			}
		}
	}
	told := matched(code.String(), `(?:Kind: |\.event\(|kind = |adapt\.\w+: )"([a-z._]+)"`)
	if len(told) < 25 {
		t.Fatalf("only found %v", told)
	}
	for _, kind := range told { // "vm." is put together, below
		if !strings.HasSuffix(kind, ".") && !slices.Contains(node.Kinds(), kind) && kind != node.KindTrace {
			t.Errorf("%q is told of, and not among the kinds", kind)
		}
	}
}

// Events whose kinds are put together are among those that can be asked for.
func TestKindsThatArePutTogether(t *testing.T) {
	var kinds []string
	for k := adapt.OpenLink; k <= adapt.CloseLink; k++ {
		kinds = append(kinds, stepKind(k))
	}
	for k := control.PlaceConflict; k <= control.PlaceRefused; k++ { // those before have words of their own, or none
		kinds = append(kinds, "vm."+k.String())
	}
	for _, kind := range kinds {
		if !slices.Contains(node.Kinds(), kind) {
			t.Errorf("%q is told of, and not among node.Kinds", kind)
		}
	}
	if last := control.PlaceKind(control.PlaceRefused + 1); last.String() != "unknown" {
		t.Errorf("there are places of kind %q: look at them here too", last)
	}
}
