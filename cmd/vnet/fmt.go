package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lang"
)

func fmtCommand(c *cli) *cobra.Command {
	var write, differing bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE…]",
		Short: "Give descriptions of an overlay their one canonical form",
		Long: `Print descriptions of an overlay in their one canonical form. Comments stay where they are. Without FILE, or for "-",
standard input is read. No daemon is asked.`,
		Example:     "  vnet fmt -w home.vnet",
		Annotations: map[string]string{plainKey: "descriptions (docs/language.md)"},
		RunE: c.do(func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"-"}
			}
			different := false
			for _, name := range args {
				changed, err := c.format(name, write, differing)
				if err != nil {
					return err
				}
				different = different || changed
			}
			if differing && different {
				return codeError(exitFailure)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write it back into the file")
	cmd.Flags().BoolVarP(&differing, "list", "l", false, "only name the files whose form differs; exit code 1 if any does")
	return cmd
}

// format handles one file and says whether its form differed.
func (c *cli) format(name string, write, differing bool) (changed bool, err error) {
	text, err := c.readText(name)
	if err != nil {
		return false, err
	}
	f, err := lang.Parse(title(name), text)
	if err != nil {
		return false, wrongFile(err)
	}
	formatted := lang.Format(f)
	changed = !bytes.Equal(text, formatted)
	switch {
	case differing && changed:
		_, err = fmt.Fprintln(c.out, name)
	case differing:
	case write && name != "-":
		if changed {
			err = replaceFile(name, formatted)
		}
	default:
		_, err = c.out.Write(formatted)
	}
	return changed, err
}

// replaceFile puts new content in the place of a file whole: a full disk leaves the old one.
func replaceFile(name string, content []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("cannot write the description: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".vnet-fmt-*")
	if err != nil {
		return fmt.Errorf("cannot write the description: %w", err)
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(content); err == nil {
		err = tmp.Chmod(info.Mode().Perm())
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("cannot write the description: %w", err)
	}
	return nil
}
