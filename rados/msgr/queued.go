package msgr

// Queued is how many bytes of messages wait to be sent on the session, those
// of the batch that is being written aside. Who answers large requests looks
// at it before making more answers than the peer takes.
func (c *tcpConn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outBytes
}
