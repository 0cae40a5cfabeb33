package pki

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memShelf is a Shelf made of memory.
type memShelf struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (s *memShelf) Update(f func(Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := maps.Clone(s.values)
	err := f(memTx{s})
	if err != nil {
		s.values = before
	}
	return err
}

func (s *memShelf) View(f func(Tx) error) error { return s.Update(f) }

// memTx is a Tx on a memShelf that is held.
type memTx struct{ s *memShelf }

func (t memTx) Get(bucket, key string) []byte { return t.s.values[bucket+"/"+key] }

func (t memTx) Put(bucket, key string, value []byte) error {
	t.s.values[bucket+"/"+key] = value
	return nil
}

func (t memTx) Delete(bucket, key string) error {
	delete(t.s.values, bucket+"/"+key)
	return nil
}

func (t memTx) Each(bucket string, f func(string, []byte) error) error {
	for _, at := range slices.Sorted(maps.Keys(t.s.values)) {
		if key, ok := strings.CutPrefix(at, bucket+"/"); ok {
			if err := f(key, t.s.values[at]); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestJoin(t *testing.T) {
	ca := testCA(t, "lan")
	proxy := issue(t, ca, "proxy", RoleProxy)
	tests := []struct {
		name   string
		node   string
		change func(*Token)
		after  time.Duration // between making and using the token
		bound  string        // name the token is made for
		want   string        // in the joiner's error
		reason error         // in the Proxy's error
	}{
		{name: "granted", node: "host1"},
		{name: "granted by a token bound to the name", node: "host1", bound: "host1"},
		{name: "wrong CA fingerprint", node: "host1", change: func(t *Token) { t.CA[0] ^= 1 }, want: "other CA key"},
		{name: "wrong secret", node: "host1", change: func(t *Token) { t.Secret = bytes.Clone(t.Secret); t.Secret[0] ^= 1 }, want: "not valid here", reason: errTokenSecret},
		{name: "unknown token", node: "host1", change: func(t *Token) { t.ID = strings.Repeat("0", 16) }, want: "not valid here", reason: errTokenUnknown},
		{name: "expired token", node: "host1", after: 2 * time.Hour, want: "not valid here", reason: errTokenExpired},
		{name: "token bound to another name", node: "host1", bound: "host2", want: "not valid here", reason: errTokenName},
		{name: "bad name", node: "Host_1", want: `cannot use name "Host_1"`},
		{name: "name in use", node: "taken", want: "taken is a node already", reason: ErrName},
		{name: "another overlay", node: "host1", change: func(t *Token) { t.Overlay = "wan" }, want: "not the Proxy of"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ledger := Ledger{&memShelf{values: map[string][]byte{}}}
			token, err := ledger.Create(today(), ca, []string{"192.0.2.1:7946"}, Terms{Name: tt.bound})
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(&token)
			}
			gate := Gate{CA: ca, Time: today, Admit: func(a Application) (Member, error) {
				if a.Name == "taken" {
					return Member{}, errors.Join(ErrName, errors.New("taken is a node already"))
				}
				m, _, err := ledger.Admit(today().Add(tt.after), a)
				return m, err
			}}
			id, joinErr, answerErr := enrol(t, proxy, gate, token, tt.node)
			if tt.reason != nil && !errors.Is(answerErr, tt.reason) {
				t.Errorf("the Proxy's log says %v, want %v", answerErr, tt.reason)
			}
			if tt.want != "" {
				if joinErr == nil || !strings.Contains(joinErr.Error(), tt.want) {
					t.Fatalf("joiner is told %v, want %q", joinErr, tt.want)
				}
				return
			}
			if joinErr != nil || answerErr != nil {
				t.Fatalf("joiner: %v, Proxy: %v", joinErr, answerErr)
			}
			id.Time = today
			if _, _, a, b := handshake(t, id.TLS("proxy"), proxy.ServerTLS()); a != nil || b != nil {
				t.Errorf("the new node and the Proxy do not believe each other: %v, %v", a, b)
			}
			if _, joinErr, answerErr = enrol(t, proxy, gate, token, "host9"); !errors.Is(joinErr, ErrRefused) || !errors.Is(answerErr, errTokenUsed) {
				t.Errorf("a token used twice: joiner %v, Proxy %v", joinErr, answerErr)
			}
		})
	}
}

// enrol runs one enrolment over TLS and returns both ends' outcome.
func enrol(t *testing.T, proxy *Identity, gate Gate, token Token, name string) (id *Identity, joinErr, answerErr error) {
	t.Helper()
	dialled, served, dialErr, serveErr := handshake(t, JoinClientTLS(token, today), proxy.ServerTLS("vnet/1"))
	if dialErr != nil {
		return nil, dialErr, serveErr
	}
	if _, _, err := PeerOf(served.ConnectionState()); err == nil {
		t.Error("a stranger has a name")
	}
	if got := served.ConnectionState().NegotiatedProtocol; got != ALPNJoin {
		t.Errorf("agreed on protocol %q", got)
	}
	done := make(chan error)
	go func() {
		_, err := AnswerJoin(served, gate)
		served.NetConn().Close() // no farewell: nobody reads it
		done <- err
	}()
	id, joinErr = RequestJoin(dialled, token, name)
	dialled.NetConn().Close()
	return id, joinErr, <-done
}

func TestATokenTakesOverANameOnlyIfMadeForIt(t *testing.T) {
	ca := testCA(t, "lan")
	ledger := Ledger{&memShelf{values: map[string][]byte{}}}
	token := func(name string) Token {
		token, err := ledger.Create(today(), ca, []string{"192.0.2.1:7946"}, Terms{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first, open, bound := token(""), token(""), token("host1")
	steps := []struct {
		token Token
		name  string
		want  error
	}{
		{first, "host1", nil},
		{open, "host1", ErrName},
		{open, "host2", nil}, // the refusal has not used it up
		{bound, "host1", nil},
	}
	for i, s := range steps {
		_, _, err := ledger.Admit(today(), Application{TokenID: s.token.ID, Secret: s.token.Secret, Name: s.name, Key: Key{byte(i + 1)}})
		if !errors.Is(err, s.want) || errors.Is(err, ErrToken) {
			t.Errorf("step %d: %v, want %v", i+1, err, s.want)
		}
	}
}

func TestAHostCannotPoseAsTheProxy(t *testing.T) {
	ca := testCA(t, "lan")
	host := issue(t, ca, "host1", RoleHost)
	token, err := newToken("lan", []string{"192.0.2.1:7946"}, ca.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	_, _, dialErr, _ := handshake(t, JoinClientTLS(token, today), host.ServerTLS())
	if dialErr == nil || !strings.Contains(dialErr.Error(), `node "host1"`) {
		t.Errorf("got %v", dialErr)
	}
}

func TestTokenText(t *testing.T) {
	token, err := newToken("lan", []string{"192.0.2.1:7946", "[2001:db8::1]:7946", "proxy.example:7946"}, [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	text := token.String()
	back, err := ParseToken(" " + text + "\n")
	if err != nil || back.String() != text {
		t.Fatalf("read back %+v, %v", back, err)
	}
	bad := func(change func(*Token)) string { t := token; change(&t); return t.String() }
	for name, s := range map[string]string{
		"empty":        "",
		"other prefix": "vnet2" + text[5:],
		"cut":          text[:len(text)-3],
		"altered":      text[:20] + "AAAA" + text[24:],
		"too long":     text + strings.Repeat("A", maxToken),
		"no address":   bad(func(t *Token) { t.Addrs = nil }),
		"no port":      bad(func(t *Token) { t.Addrs = []string{"192.0.2.1"} }),
		"port 0":       bad(func(t *Token) { t.Addrs = []string{"192.0.2.1:0"} }),
		"short secret": bad(func(t *Token) { t.Secret = t.Secret[:8] }),
		"bad overlay":  bad(func(t *Token) { t.Overlay = "a/b" }),
	} {
		_, err := ParseToken(s)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot ") {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil && len(s) > 30 && strings.Contains(err.Error(), s[10:30]) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
}

func TestLedgerKeepsNoSecret(t *testing.T) {
	shelf := &memShelf{values: map[string][]byte{}}
	token, err := Ledger{shelf}.Create(today(), testCA(t, "lan"), []string{"192.0.2.1:7946"}, Terms{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(token.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range shelf.values {
		if bytes.Contains(value, token.Secret) || bytes.Contains(value, bytes.Trim(secret, `"`)) {
			t.Errorf("%s holds the secret", key)
		}
	}
	if _, err := (Ledger{shelf}).Create(today(), testCA(t, "lan"), []string{"a:1"}, Terms{TTL: -time.Second}); err == nil {
		t.Error("made a token that is dead already")
	}
}

func FuzzParseToken(f *testing.F) {
	token, err := newToken("lan", []string{"192.0.2.1:7946"}, [32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.String())
	f.Add("vnet1.AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			return
		}
		again, err := ParseToken(token.String())
		if err != nil || again.String() != token.String() {
			t.Errorf("%q reads back as %+v, %v", s, again, err)
		}
	})
}

func FuzzReadJoinRequest(f *testing.F) {
	var good bytes.Buffer
	if err := writeMessage(&good, joinRequest{Overlay: "lan", TokenID: "00", Name: "host1", Secret: []byte{1}, CSR: []byte{2}}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	ca, err := NewCA("lan", today())
	if err != nil {
		f.Fatal(err)
	}
	gate := Gate{CA: ca, Admit: func(Application) (Member, error) { return Member{}, ErrToken }}
	f.Fuzz(func(t *testing.T, sent []byte) {
		var answer bytes.Buffer
		conn := struct {
			*bytes.Reader
			*writer
		}{bytes.NewReader(sent), &writer{&answer}}
		if m, err := AnswerJoin(conn, gate); err == nil {
			t.Errorf("let %q join without a token", m.Name)
		}
	})
}

// writer keeps bytes.Buffer's Read from hiding the reader's.
type writer struct{ to *bytes.Buffer }

func (w *writer) Write(p []byte) (int, error) { return w.to.Write(p) }
