package node

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
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
	if !slices.IsSorted(Kinds()) {
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
	if diff := cmp.Diff(Kinds(), matched(strings.Join(first, ""), "`([a-z._]+)`")); diff != "" {
		t.Errorf("kinds and docs/api.md (-kinds +docs):\n%s", diff)
	}
	var code strings.Builder
	for _, dir := range []string{".", "../proxy"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && !strings.HasSuffix(f, "_test.go") && f != "kinds.go" {
				code.Write(b)
			}
		}
	}
	told := matched(code.String(), `(?:Kind: |\.event\(|"?kind = |adapt\.\w+: )"([a-z._]+)"`)
	if len(told) < 25 {
		t.Fatalf("only found %v", told)
	}
	for _, kind := range told {
		family := strings.HasSuffix(kind, ".") && checkKinds([]string{strings.TrimSuffix(kind, ".")}) == nil // "vm." and more
		if !family && !slices.Contains(Kinds(), kind) && kind != KindTrace {
			t.Errorf("%q is told of, and not among the kinds", kind)
		}
	}
}

func TestKindsThatThereAreNotAreRefused(t *testing.T) {
	for _, ok := range [][]string{nil, {"link"}, {"vm.moved", "adapt"}} {
		if err := checkKinds(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, bad := range []string{"nonsense", "link.", "lin", "link.upp", ""} {
		err := vnetv1.AsError(checkKinds([]string{"link", bad}))
		if err == nil || !strings.Contains(err.Error(), "knows no such kind") || !strings.Contains(err.Hint, "adapt, address, certificate, change") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
