package forward

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// TestHashedAgainstMap keeps every version of a table and the map it should equal: none may change afterwards.
func TestHashedAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few bits, so that shards fill up, wrap around and hold equal hashes.
		hash := func(id uint64) uint64 { return (id%7)*shards + id%2 + (id%3)<<62 }
		var now hashed[uint64, *numbered]
		want := map[uint64]*numbered{}
		var tables []hashed[uint64, *numbered]
		var wants []map[uint64]*numbered
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			e := now.edit()
			for _, id := range rapid.SliceOfN(rapid.Uint64Range(1, 60), 1, 20).Draw(t, "ids") {
				if want[id] != nil && rapid.Bool().Draw(t, "remove") {
					e.remove(hash(id), id)
					delete(want, id)
					continue
				}
				r := &numbered{Rule: Rule{ID: id}}
				e.put(hash(id), r)
				want[id] = r
			}
			now = e.hashed
			tables, wants = append(tables, now), append(wants, maps.Clone(want))
		}
		for i := range tables {
			found := map[uint64]*numbered{}
			tables[i].each(func(r *numbered) bool { found[r.ID] = r; return true })
			if !maps.Equal(found, wants[i]) {
				t.Fatalf("version %d holds %v, want %v", i, found, wants[i])
			}
			for id := range uint64(70) {
				if got := tables[i].get(hash(id), id); got != wants[i][id] {
					t.Fatalf("version %d: %d is %v, want %v", i, id, got, wants[i][id])
				}
			}
		}
	})
}
