package rados

func (s *MonSession) renewTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew = true
	s.signal()
}

func (s *MonSession) renewDue() {}
