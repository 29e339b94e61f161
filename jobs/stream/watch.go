package stream

import "time"

// hear notes that a trade of s came on c; deck.mu is held. Silences are taken within one connection, so
// that a dead one does not teach what is usual.
func (c *connection) hear(s *symbol, at int64) {
	l := c.link
	if s.index >= len(c.heard) {
		c.heard = append(c.heard, make([]int64, s.index+1-len(c.heard))...)
	}
	if last := c.heard[s.index]; last != 0 {
		s.cadence.observe(time.Duration(at - last))
	}
	c.heard[s.index] = at
	s.lastHeard = at
	s.strikes = 0
	since := c.heardAt
	if since == 0 {
		since = c.opened
	}
	l.cadence.observe(time.Duration(at - since))
	c.heardAt = at
	l.lastHeard = at
	l.cutOff = 0
	l.strikes = 0
	c.messages++
}

// silent says what on the connection has been silent for longer than it ever is while alive: the
// connection as a whole, or one of its symbols.
func (d *deck) silent(c *connection, symbols []string) (what string, silence time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.batch.rows) >= d.opt.FlushRows {
		d.stalledAt = d.clock()
		return "", 0 // it is we who do not read
	}
	now := d.clock()
	opened := max(c.opened, d.stalledAt)
	l := c.link

	silence = time.Duration(now - max(c.heardAt, opened))
	allowed := connectionLimit(&l.cadence, l.strikes)
	if silence > allowed {
		l.strikes++
		return "connection", silence
	}
	if ping := c.conn.LastPing(); ping != 0 && time.Duration(now-ping) > pingMost && silence > pingMost {
		return "pings", time.Duration(now - ping)
	}
	known := *c.link.r.symbols.Load()
	for _, name := range symbols {
		s := known[name]
		quiet, ok := s.cadence.expected()
		if !ok {
			continue
		}
		heard := opened
		if s.index < len(c.heard) {
			heard = max(heard, c.heard[s.index])
		}
		silence := time.Duration(now - heard)
		if silence > symbolLimit(quiet, s.strikes) {
			s.strikes++
			return name, silence
		}
	}
	return "", 0
}

// join and leave are a link's beginning and end.
func (d *deck) join(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links = append(d.links, l)
}

func (d *deck) leave(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, other := range d.links {
		if other == l {
			d.links = append(d.links[:i:i], d.links[i+1:]...)
			return
		}
	}
}

// arrive notes that a link has a new connection.
func (d *deck) arrive(l *link, c *connection, again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Connects++
	if again && l.live == nil {
		d.count.Reconnects++
	}
	l.live, l.trouble, l.cutOff = c, "", 0
	l.connects++
}

// delivers says whether a trade has come on a connection.
func (d *deck) delivers(c *connection) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.messages > 0
}

// live sets which connection a link has now.
func (d *deck) live(l *link, c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.live = c
}

// troubled notes what is wrong with a link; it stands until a connection is up.
func (d *deck) troubled(l *link, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.trouble = err.Error()
}

func (d *deck) refused(l *link, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Refused++
	l.trouble = err.Error()
	l.unreached(err, d.clock())
}

func (d *deck) replaced() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Replaced++
}
