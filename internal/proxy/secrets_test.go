package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// diary keeps what daemons log.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// forms are the ways in which bytes may be printed; of a long key its middle tells.
func forms(b []byte) []string {
	if len(b) > 40 {
		b = b[30 : len(b)-len(b)%3][:30]
	}
	return []string{hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b)[:len(b)], base64.RawURLEncoding.EncodeToString(b)[:len(b)], string(b)}
}

// privateKeys are those in a PEM text.
func privateKeys(t *testing.T, text []byte, err error) (all [][]byte) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			all = append(all, block.Bytes)
		}
	}
	if err != nil || len(all) == 0 {
		t.Fatalf("no private key: %v", err)
	}
	return all
}

// Machines join, with the right token and with wrong ones, links come and go, and everything is asked: no token and no key is in
// what daemons log, in the finest detail, nor in what the API answers, but for the answer that makes a token.
func TestNoSecretIsPrinted(t *testing.T) {
	papers := issuePapers(t, 2)
	synctest.Test(t, func(t *testing.T) {
		log := &diary{}
		w := newWorld(t, papers, 1, wan.Path{Delay: time.Millisecond}, 0, 1, 1)
		defer w.stop()
		w.await("both hosts are there", w.up)
		for _, m := range w.machines() { // once more, and with a log
			m.stop()
		}
		w.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, m := range w.machines() {
			m.start()
		}
		w.await("both hosts are there again", w.up)
		w.greet()
		p := w.proxy.proxy
		made, err := p.CreateToken(t.Context(), &vnetv1.CreateTokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		token, err := pki.ParseToken(made.GetToken())
		if err != nil {
			t.Fatal(err)
		}
		var secrets [][]byte
		secrets = append(secrets, token.Secret)
		dir := t.TempDir()
		err = papers.ca.Save(dir)
		text, _ := os.ReadFile(filepath.Join(dir, "ca.pem"))
		secrets = append(secrets, privateKeys(t, text, err)...)
		for _, id := range papers.ids {
			text, err := id.Encode()
			secrets = append(secrets, privateKeys(t, text, err)...)
		}
		wrong := token
		wrong.Secret = bytes.Repeat([]byte("0123456789abcdef"), 1)
		for _, try := range []struct {
			name  string
			token pki.Token
		}{{"h7", wrong}, {"h8", token}, {"h9", token}} {
			near, far := net.Pipe()
			go p.Join(near)
			if id, err := pki.RequestJoin(far, try.token, try.name); err == nil {
				text, err := id.Encode()
				secrets = append(secrets, privateKeys(t, text, err)...)
			} else if try.name == "h8" {
				t.Errorf("%s cannot join: %v", try.name, err)
			}
			far.Close()
		}
		secrets = append(secrets, wrong.Secret)
		said := w.askEverything(t)
		time.Sleep(time.Second)
		if n := strings.Count(log.String(), "\n"); n < 10 || len(said) < 2000 || !strings.Contains(log.String(), "join refused") {
			t.Errorf("%d lines of logs, %d bytes of answers: that is not all\n%s", n, len(said), log.String())
		}
		for where, text := range map[string]string{"the log": log.String(), "an answer": said} {
			if strings.Contains(text, made.GetToken()[20:60]) {
				t.Errorf("%s shows the token", where)
			}
			for i, secret := range secrets {
				for _, form := range forms(secret) {
					if at := strings.Index(text, form); at >= 0 {
						t.Errorf("%s shows secret %d: …%.90q", where, i, text[max(0, at-60):])
					}
				}
			}
		}
	})
}

// askEverything is what the API answers to whoever may look.
func (w *world) askEverything(t *testing.T) string {
	t.Helper()
	ctx, s := context.Background(), w.service()
	var said strings.Builder
	note := func(m proto.Message, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		said.Write(text)
	}
	ask := func(m proto.Message, err error) { note(m, err) }
	ask(s.GetStatus(ctx, &vnetv1.GetStatusRequest{}))
	ask(s.ListNodes(ctx, &vnetv1.ListNodesRequest{}))
	ask(s.ListTokens(ctx, &vnetv1.ListTokensRequest{}))
	ask(s.ListKeys(ctx, &vnetv1.ListKeysRequest{}))
	ask(s.GetOverlay(ctx, &vnetv1.GetOverlayRequest{}))
	ask(s.ListLinks(ctx, &vnetv1.ListLinksRequest{}))
	ask(s.ListRules(ctx, &vnetv1.ListRulesRequest{}))
	ask(s.ListPorts(ctx, &vnetv1.ListPortsRequest{}))
	ask(s.GetCounters(ctx, &vnetv1.GetCountersRequest{}))
	ask(s.GetAdaptation(ctx, &vnetv1.GetAdaptationRequest{}))
	list, _, _ := s.Proxy.Node().Events().Since(0)
	for _, ev := range list {
		said.WriteString(ev.Text)
		for _, v := range ev.Fields {
			said.WriteString(v)
		}
	}
	return said.String()
}
