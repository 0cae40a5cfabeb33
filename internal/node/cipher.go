package node

import (
	"context"
	"maps"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// cipherWith is what the user wants the links with a peer to be sealed with. Links ask it from goroutines of their own.
func (n *Node) cipherWith(peer string) link.Cipher {
	if all := n.ciphers.Load(); all != nil {
		return (*all)[peer]
	}
	return link.AutoCipher
}

// seal takes down what the user wants with a peer. It holds from the next handshake on, and after a restart.
func (s *state) seal(peer overlay.Name, c link.Cipher) {
	if s.n.cipherWith(string(peer)) == c {
		return
	}
	all := map[string]link.Cipher{}
	if have := s.n.ciphers.Load(); have != nil {
		all = maps.Clone(*have)
	}
	all[string(peer)] = c
	if c == link.AutoCipher {
		delete(all, string(peer))
	}
	s.n.ciphers.Store(&all)
	words := map[string]string{}
	for name, c := range all {
		words[name] = c.String()
	}
	s.save(keyCiphers, words)
}

// restoreCiphers reads what was taken down before the restart.
func (s *state) restoreCiphers() {
	var words map[string]string
	s.load(keyCiphers, &words)
	all := map[string]link.Cipher{}
	for name, word := range words {
		c, err := link.ParseCipher(word)
		if err != nil || overlay.ValidName(name) != nil {
			s.n.cfg.Log.Warn("cached cipher left out", "peer", name, "cipher", word)
			continue
		}
		all[name] = c
	}
	s.n.ciphers.Store(&all)
}

// SetLinkCipher takes down what the user wants with a peer, at this end. The Proxy has both ends do it.
func (n *Node) SetLinkCipher(_ context.Context, req *vnetv1.SetLinkCipherRequest) (*vnetv1.SetLinkCipherResponse, error) {
	peer := overlay.Name(req.GetPeer())
	want, err := link.ParseCipher(req.GetCipher())
	if err != nil {
		return nil, vnetv1.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	if overlay.ValidName(string(peer)) != nil || peer == n.name {
		return nil, vnetv1.Errorf(connect.CodeInvalidArgument, "cannot change the link to %q: give the name of another node", peer)
	}
	n.do(func(s *state) {
		s.seal(peer, want)
		if one, ok := s.byPeer[peer]; ok && one.spec.Cipher != "" {
			one.spec.Cipher = want.String()
			s.saveLinks()
		}
	})
	return &vnetv1.SetLinkCipherResponse{Link: n.linkTo(peer)}, nil
}

// SetLinkCipher asks the Proxy to have both ends of a link sealed with something else, unless it is about this end only.
func (s Service) SetLinkCipher(ctx context.Context, req *vnetv1.SetLinkCipherRequest) (*vnetv1.SetLinkCipherResponse, error) {
	if req.GetOneEnd() {
		return s.Node.SetLinkCipher(ctx, req)
	}
	req.Node = s.Name()
	return relay[vnetv1.SetLinkCipherResponse](ctx, s.Node, s.name, "SetLinkCipher", req)
}
