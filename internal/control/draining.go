package control

// Draining says that every source has flipped and none uses what is old any
// more: the change only waits for stragglers, deletes, or is over. From here on
// the next change may start.
func (c *Change) Draining() bool { return c.waiting || c.over || c.stage == StageDelete }

// Stage is how far all nodes are asked to come at present.
func (c *Change) Stage() Stage { return c.stage }
