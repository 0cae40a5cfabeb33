package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const (
	webPort = 8080
	// webBytes is what is fetched: many full frames, and a second at 20 Mbit/s.
	webBytes = 2 << 20
)

// webContent is what every web server of these tests serves.
func webContent() []byte {
	b := make([]byte, webBytes)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// serveWeb: web. A web server.
func serveWeb([]string) int {
	content := webContent()
	fmt.Println("listening")
	err := http.ListenAndServe(fmt.Sprintf(":%d", webPort), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// fetchWeb: fetch HOST. It fetches over TCP and compares every byte.
func fetchWeb(args []string) int {
	client := http.Client{Timeout: 20 * time.Second}
	began := time.Now()
	resp, err := client.Get(fmt.Sprintf("http://%s:%d/", args[0], webPort))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, webContent()) {
		fmt.Fprintf(os.Stderr, "%d bytes came, %v; they are not what was served\n", len(got), err)
		return 1
	}
	fmt.Printf("%.0f Mbit/s\n", float64(len(got))*8/1e6/time.Since(began).Seconds())
	return 0
}

// web starts a web server.
func (w *world) web(in string) {
	w.Helper()
	var out output
	w.spawn(in, lab.CmdOptions{Name: "web", Stdout: &out}, lab.Self)
	w.eventually(5*time.Second, "a web server in "+in, func() bool { return out.String() != "" })
}
