package main

import (
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

func TestWhatHostsMayAskTheProxyFor(t *testing.T) {
	for method, may := range map[string]bool{
		"ListNodes": true, "AddLink": true, "SetLinkCipher": true, node.MethodSeal: true,
		"CreateToken": false, "ApproveNode": false, "RevokeNode": false, "RotateCA": false, "CreateClient": false, "SetSeal": false,
		node.MethodTrust: false, node.MethodSealWith: false, "Nonsense": false,
	} {
		if err := allowHosts(method); (err == nil) != may {
			t.Errorf("%s: %v", method, err)
		}
	}
}
