package pki

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// pairing is two hosts of one overlay, of which a judges b.
type pairing struct {
	t    *testing.T
	ca   *CA
	a, b *Identity
	now  time.Time
}

func newPairing(t *testing.T) *pairing {
	t.Helper()
	p := &pairing{t: t, ca: testCA(t, "lan"), now: today()}
	p.a, p.b = issue(t, p.ca, "host1", RoleHost), issue(t, p.ca, "host2", RoleHost)
	for _, id := range []*Identity{p.a, p.b} {
		trust, err := NewTrust(id)
		if err != nil {
			t.Fatal(err)
		}
		id.Trust, id.Time = trust, func() time.Time { return p.now }
	}
	p.b.Trust.Away(func() bool { return true }) // b forgives whatever a's dates are
	p.b.Trust.RestorePins(map[string]Key{"host1": p.a.Key()})
	return p
}

// meet has the two shake hands; the error is a's.
func (p *pairing) meet() error {
	p.t.Helper()
	_, _, err, _ := handshake(p.t, p.a.TLS("host2"), p.b.TLS("host1"))
	return err
}

func (p *pairing) want(what, says string) {
	p.t.Helper()
	err := p.meet()
	if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
		p.t.Errorf("%s: %v, want %q", what, err, says)
	}
}

// list is a signed list that names the keys.
func (p *pairing) list(number uint64, revoked ...Revocation) []byte {
	p.t.Helper()
	raw, err := SignList(List{Overlay: "lan", Number: number, Made: p.now, Roots: [][]byte{p.ca.Certificate()}, Revoked: revoked}, p.ca)
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// With no Proxy in reach a certificate that ended is accepted from whom the node knew, for a week, unless it was revoked.
func TestGrace(t *testing.T) {
	p := newPairing(t)
	away := false
	p.a.Trust.Away(func() bool { return away })
	p.now = today().Add(LeafLife + ClockSkew - time.Minute)
	p.want("clocks may differ", "")
	if len(p.a.Trust.Graced()) != 0 {
		t.Error("what clocks may differ is called grace")
	}
	p.now = today().Add(LeafLife + ClockSkew + time.Minute)
	p.want("ended, and the Proxy is there", "it has expired at")
	away = true
	p.want("ended, and no Proxy is there", "")
	if end := p.a.Trust.Graced()["host2"]; !end.Equal(p.b.Expires()) {
		t.Errorf("grace is given without a flag: %v", p.a.Trust.Graced())
	}
	p.now = today().Add(LeafLife + Grace + ClockSkew + time.Minute)
	p.want("ended a week ago", "it has expired at")
	p.now = today().Add(LeafLife + ClockSkew + time.Minute)
	p.a.Trust.Forget("host2")
	p.want("ended, of a stranger", "it has expired at")
	p.a.Trust.RestorePins(map[string]Key{"host2": p.b.Key()})
	p.want("remembered from before a restart", "")
	if _, err := p.a.Trust.Take(p.list(1, Revocation{Name: "host2", Key: p.b.Key(), When: p.now})); err != nil {
		t.Fatal(err)
	}
	p.want("revoked", "its key was revoked")
}

// The first key seen under a name is the one that counts, whatever the authority signs later.
func TestKeysArePinnedAtFirstSight(t *testing.T) {
	p := newPairing(t)
	p.want("first sight", "")
	first := p.b.Key()
	impostor := issue(t, p.ca, "host2", RoleHost) // signed by a Proxy that lies
	impostor.Trust, impostor.Time = p.b.Trust, p.b.Time
	real := p.b
	p.b = impostor
	p.want("another key", "its key is "+impostor.Key().String()+" and was "+first.String())
	var pin *PinError
	if err := p.a.Trust.pin("host2", impostor.Key()); !errors.As(err, &pin) {
		t.Errorf("no PinError: %v", err)
	}
	renewed, err := p.ca.Reissue(real, p.now, LeafLife)
	if err != nil {
		t.Fatal(err)
	}
	p.b = renewed
	p.want("the same key, renewed", "")
	p.b = impostor
	if !p.a.Trust.Forget("host2") {
		t.Error("nothing to forget")
	}
	p.want("forgotten", "")
	p.b = real
	p.want("the other one is the one now", "vnet nodes forget-key host2")
	if _, err := p.a.Trust.Take(p.list(1, Revocation{Name: "host2", Key: impostor.Key(), When: p.now})); err != nil {
		t.Fatal(err)
	}
	p.want("its holder was revoked", "")
}

func TestListsOfTrust(t *testing.T) {
	p := newPairing(t)
	take := func(what string, raw []byte, newer bool, says string) {
		t.Helper()
		got, err := p.a.Trust.Take(raw)
		if got != newer || (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: newer %v, %v", what, got, err)
		}
	}
	second := p.list(2, Revocation{Name: "host9", Key: Key{9}, When: p.now})
	take("the first", second, true, "")
	take("again", second, false, "")
	take("an older one", p.list(1), false, "")
	if !p.a.Trust.Refuses(Key{9}) {
		t.Error("an older list has taken a revocation back")
	}
	other := testCA(t, "lan")
	forged, err := SignList(List{Overlay: "lan", Number: 9, Roots: [][]byte{other.Certificate()}}, other)
	if err != nil {
		t.Fatal(err)
	}
	take("one that another authority signed", forged, false, "no CA that this node knows has signed it")
	claimed, err := SignList(List{Overlay: "wan", Number: 9, Roots: [][]byte{p.ca.Certificate()}}, p.ca)
	if err != nil {
		t.Fatal(err)
	}
	take("one of another overlay", claimed, false, "of overlay")
	take("nonsense", []byte("{}"), false, "no CA")
	changed := append([]byte(nil), second...)
	changed[20] ^= 1
	if newer, err := p.a.Trust.Take(changed); newer || err == nil {
		t.Errorf("one that was changed: %v, %v", newer, err)
	}
	both, err := SignList(List{Overlay: "lan", Number: 3, Roots: [][]byte{other.Certificate(), p.ca.Certificate()}}, other, p.ca)
	if err != nil {
		t.Fatal(err)
	}
	take("one that brings a new authority", both, true, "")
	if !p.a.Trust.Believes(other.Fingerprint()) || p.a.Trust.Signer() != other.Fingerprint() {
		t.Error("the new authority is not believed")
	}
	take("and now one that only it signed", forged, true, "")
	if p.a.Trust.Believes(p.ca.Fingerprint()) {
		t.Error("the old authority is still believed")
	}
}

func TestClientsAreNoNodes(t *testing.T) {
	p := newPairing(t)
	p.b = issue(t, p.ca, "host2", RoleAdmin)
	p.want("a client's certificate", "may ask the API, and is no node")
}

func TestTokensWithManyUsesArePruned(t *testing.T) {
	l := Ledger{&memShelf{values: map[string][]byte{}}}
	ca := testCA(t, "lan")
	token, err := l.Create(today(), ca, []string{"192.0.2.1:7946"}, Terms{Uses: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, ErrToken} {
		_, _, err := l.Admit(today(), Application{TokenID: token.ID, Secret: token.Secret, Name: "h" + string(rune('1'+i)), Key: Key{byte(i + 1)}})
		if !errors.Is(err, want) {
			t.Errorf("use %d: %v", i+1, err)
		}
	}
	other, err := l.Create(today(), ca, []string{"192.0.2.1:7946"}, Terms{TTL: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{23 * time.Hour: 2, 25 * time.Hour: 1} {
		if err := l.Prune(today().Add(after)); err != nil {
			t.Fatal(err)
		}
		if list, err := l.Tokens(); err != nil || len(list) > 2 || after > deadKept && (len(list) != want || list[0].ID != other.ID) {
			t.Errorf("after %v: %v, %v", after, list, err)
		}
	}
	if err := l.RevokeToken(other.ID); err != nil {
		t.Error(err)
	}
	if err := l.RevokeToken(other.ID); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked twice: %v", err)
	}
}

// What 0.1.0 left is still good: a bare time for a member, a token without uses.
func TestRecordsOfTheVersionBefore(t *testing.T) {
	shelf := &memShelf{values: map[string][]byte{"joined/host1": []byte("2026-11-20T10:00:00Z")}}
	l := Ledger{shelf}
	m, known, err := l.Member("host1")
	if err != nil || !known || m.Joined.Day() != 20 || m.Key != (Key{}) {
		t.Errorf("member: %+v, %v, %v", m, known, err)
	}
	if known, err := l.Holds("host1", Key{1}); known || err != nil {
		t.Errorf("a key that is not registered yet: %v, %v", known, err)
	}
	if err := l.Seen(today(), "host1", Key{1}, today()); err != nil {
		t.Error(err)
	}
	if _, err := l.Holds("host1", Key{2}); err == nil {
		t.Error("another key is believed")
	}
	old := Token{Overlay: "lan", Addrs: []string{"192.0.2.1:7946"}, CA: Key{1}, ID: "0011223344556677", Secret: make([]byte, secretLen)}
	back, err := ParseToken(old.String())
	if err != nil || !back.Expires.IsZero() || back.Uses != 0 || back.Expired(today().Add(1000*time.Hour)) {
		t.Errorf("token: %+v, %v", back, err)
	}
}

func FuzzTrustList(f *testing.F) {
	ca, err := NewCA("lan", today())
	if err != nil {
		f.Fatal(err)
	}
	id, err := ca.Issue("host1", RoleHost, today(), LeafLife)
	if err != nil {
		f.Fatal(err)
	}
	good, err := SignList(List{Overlay: "lan", Number: 1, Roots: [][]byte{ca.Certificate()}, Revoked: []Revocation{{Name: "host2", Key: Key{1}}}}, ca)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"list":"e30","signatures":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		trust, err := NewTrust(id)
		if err != nil {
			t.Fatal(err)
		}
		if newer, err := trust.Take(raw); err != nil && newer || newer != (trust.Refuses(Key{1})) {
			t.Errorf("took %q: %v, %v", raw, newer, err)
		}
	})
}
