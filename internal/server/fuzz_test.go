package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

// FuzzHandler asks each method of the API anything, as JSON and as protobuf: the answer is one, or says what is wrong with the
// question.
func FuzzHandler(f *testing.F) {
	methods := api.File_vnet_v1_vnet_proto.Services().ByName("Daemon").Methods()
	for i := range methods.Len() {
		f.Add(uint8(i), true, []byte(`{"node":"host1"}`))
	}
	f.Add(uint8(6), true, []byte(`{"peer":"host2","addresses":["x"]}`))
	f.Add(uint8(11), false, []byte{0x12, 0x02, 0x08, 0x01})
	handler := Handler(servertest.New("host1"))
	f.Fuzz(func(t *testing.T, which uint8, json bool, body []byte) {
		method := methods.Get(int(which) % methods.Len())
		if method.IsStreamingServer() {
			return // it would go on for ever
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/"+vnetv1connect.DaemonName+"/"+string(method.Name()), bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/proto")
		if json {
			req.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if said := w.Body.String(); w.Code == http.StatusInternalServerError && (strings.Contains(said, "panic") || strings.Contains(said, `"internal"`)) {
			t.Errorf("%s answers %d: %s", method.Name(), w.Code, said)
		}
	})
}
