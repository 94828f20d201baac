"""What a team would write first. For comparison only: no part of the product comes here, and nothing here is a fake.

Each does the same work on the same tables: read the due subscription, work out the next date, POST a signed payload of
the same size, write the delivery, its recipient and its attempt, and commit, with the same durability. To their
advantage: content is computed once, connections are kept open, and one commit a delivery is all they promise (a crash
between the POST and the commit sends twice under another id, which Paperround's three transactions rule out).
"""
