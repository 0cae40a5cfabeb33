package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// Replace writes what lies between the two marks of a section in a document anew:
//
//	<!-- bench: NAME -->
//	<!-- end of bench: NAME -->
func Replace(path, name string, write func(io.Writer)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	open, end := []byte("<!-- bench: "+name+" -->\n"), []byte("<!-- end of bench: "+name+" -->")
	from, to := bytes.Index(text, open), bytes.Index(text, end)
	if from < 0 || to < from {
		return fmt.Errorf("cannot write the results into %s: it has no section marked %q", path, name)
	}
	var out bytes.Buffer
	out.Write(text[:from+len(open)])
	fmt.Fprintln(&out)
	write(&out)
	fmt.Fprintln(&out)
	out.Write(text[to:])
	return os.WriteFile(path, out.Bytes(), 0o644)
}
