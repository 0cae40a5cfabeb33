package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command has a page, and the page says what its help says.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	var out, errOut strings.Builder
	if code := run(t.Context(), []string{"man", dir}, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 30 {
		t.Errorf("%d pages: %v", len(pages), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "vnet-apply.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".SH NAME\nvnet\\-apply \\- Make the overlay what a description says\n", ".B \\-\\-dry\\-run\nsay what would be done", "vnet generate ring", "OPTIONS OF EVERY COMMAND", "vnet(1)"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("vnet-apply.1 lacks %q:\n%s", want, text)
		}
	}
}
