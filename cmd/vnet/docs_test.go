package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestDocumentedCommandsExist holds every `vnet …` of the README and of docs/ against the commands and flags there are.
func TestDocumentedCommandsExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	adr, err := filepath.Glob("../../docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(append(files, adr...), "../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			found++
			if why := unknown(line); why != "" {
				t.Errorf("%s: %q: %s", path, line, why)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d commands in the documentation; want 20 at least", found)
	}
}

// commandLines are what stands behind each `vnet` that is typed: in a span of code, or on a line of a block of code.
func commandLines(text string) []string {
	var lines []string
	fenced, typing := false, false
	for line := range strings.Lines(text) {
		if kind, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			fenced = !fenced
			typing = kind == "" || kind == "sh" // and not yaml, json or the overlay's own language
			continue
		}
		if fenced && !typing {
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") {
			lines = append(lines, typed(line)...)
			continue
		}
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			lines = append(lines, typed(span[1])...)
		}
	}
	return lines
}

// typed finds a command line of the program in a line: at its beginning, behind sudo, or behind the -- of another program.
func typed(line string) []string {
	// `vnet 1` is no command but how a file begins.
	begins := regexp.MustCompile(`^\s*(?:\$ )?(?:sudo (?:-E )?)?(?:go run \./cmd/)?vnet( [^0-9].*)?$`)
	var found []string
	for part := range strings.SplitSeq(line, " -- ") {
		for one := range strings.SplitSeq(part, " && ") {
			if m := begins.FindStringSubmatch(strings.TrimRight(one, "\n")); m != nil {
				found = append(found, m[1])
			}
		}
	}
	return found
}

// unknown says what is wrong with the words behind `vnet`, "" when nothing is.
func unknown(line string) string {
	line, _, _ = strings.Cut(line, " # ")
	line, _, _ = strings.Cut(line, "   ") // an explanation in a column of its own
	root := (&cli{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
	root.InitDefaultHelpFlag()
	cmd := root
	for _, word := range strings.Fields(line) {
		word = strings.Trim(word, "[]")
		switch {
		case word == "|" || word == ">":
			return ""
		case strings.HasPrefix(word, "-"):
			if !hasFlag(cmd, word) {
				return cmd.CommandPath() + " has no flag " + word
			}
		case cmd.HasSubCommands():
			var next *cobra.Command
			for one := range strings.SplitSeq(word, "|") { // alternatives
				if next = child(cmd, one); next == nil && one != "help" && one != "…" {
					return cmd.CommandPath() + " has no command " + one
				}
			}
			if next != nil {
				cmd = next
			}
		}
	}
	return ""
}

func child(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

func hasFlag(cmd *cobra.Command, word string) bool {
	cmd.InitDefaultHelpFlag()
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if strings.HasPrefix(word, "--") {
		return cmd.Flag(name) != nil
	}
	return cmd.Flags().ShorthandLookup(name) != nil || cmd.InheritedFlags().ShorthandLookup(name) != nil
}

func TestWhatTheDocumentsTestRefuses(t *testing.T) {
	tests := map[string]string{
		" demo --vms 8":                "",
		" links --node home -o json":   "",
		" lab exec --lab two office":   "",
		" dmeo":                        "vnet has no command dmeo",
		" demo --vm 8":                 "vnet demo has no flag --vm",
		" link ad host2":               "vnet link has no command ad",
		" bound 200ms   # or auto":     "",
		" link add|delete|carrier":     "",
		" rule add|remove":             "vnet rule has no command remove",
		" token create --ttl 1h --nam": "vnet token create has no flag --nam",
	}
	for line, want := range tests {
		if got := unknown(line); got != want {
			t.Errorf("vnet%s: %q, want %q", line, got, want)
		}
	}
}
