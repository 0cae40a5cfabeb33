package store

// Troubled is another way into a store, over a disk that is slow or full: before every change trouble is asked, which may take its
// time, and whose error refuses the change. It is for tests of those who use a store.
func Troubled(s *Store, trouble func() error) *Store {
	return &Store{engine: troubled{s.engine, trouble}}
}

type troubled struct {
	engine
	ask func() error
}

func (d troubled) update(f func(Tx) error) error {
	if err := d.ask(); err != nil {
		return err
	}
	return d.engine.update(f)
}
