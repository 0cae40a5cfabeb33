package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lang"
)

func checkCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "Say everything that is wrong with descriptions of an overlay",
		Long: `Read descriptions of an overlay (docs/language.md) and say everything that is wrong with each, at once: words, names,
and rules that would send frames in a circle. "-" is standard input. No daemon is asked.`,
		Example: "  vnet check home.vnet",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.do(func(_ *cobra.Command, args []string) error {
			bad := false
			for _, name := range args {
				_, err := c.described(name)
				bad = c.reportCheck(name, err) || bad
			}
			if bad {
				return codeError(exitFailure)
			}
			return nil
		}),
	}
}

// reportCheck tells what became of one file, and whether it is wrong.
func (c *cli) reportCheck(name string, err error) bool {
	if c.output == "json" {
		type wrong struct {
			File string `json:"file"`
			Line int    `json:"line,omitempty"`
			Col  int    `json:"column,omitempty"`
			Text string `json:"text"`
		}
		list := []wrong{}
		var errs lang.Errors
		if errors.As(err, &errs) {
			for _, e := range errs {
				list = append(list, wrong{e.File, e.Pos.Line, e.Pos.Col, e.Text})
			}
		} else if err != nil {
			list = append(list, wrong{File: name, Text: err.Error()})
		}
		json.NewEncoder(c.out).Encode(map[string]any{"file": name, "ok": err == nil, "errors": list})
		return err != nil
	}
	var wrong lang.Errors
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(c.err, err)
		return true
	case err != nil:
		c.complain(err.Error(), "")
		return true
	}
	fmt.Fprintf(c.out, "%s is right\n", name)
	return false
}

// readText reads a file, or standard input for "-", and no more than the language allows.
func (c *cli) readText(name string) ([]byte, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the description: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, lang.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the description: %w", err)
	}
	return text, nil
}

// described reads and checks a description.
func (c *cli) described(name string) (*lang.File, error) {
	text, err := c.readText(name)
	if err != nil {
		return nil, err
	}
	return lang.Check(title(name), text)
}

// title is what errors call a file.
func title(name string) string {
	if name == "-" {
		return "standard input"
	}
	return strings.TrimPrefix(name, "./")
}

// wrongFile is a description's errors as a command that needs it complains of them.
func wrongFile(err error) error {
	var errs lang.Errors
	if errors.As(err, &errs) {
		return fmt.Errorf("cannot use this description:\n%w", err)
	}
	return err
}
