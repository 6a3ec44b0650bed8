"""Every page and every form, in the order of the navigation."""

from openimds.admin.page import (
    events_page,
    faults_page,
    fleet_page,
    health_page,
    hosts_page,
    requests_page,
    trust_page,
    vm_page,
)
from openimds.admin.page.page_row import FormRow, PageRow

PAGES: tuple[PageRow, ...] = (
    fleet_page.PAGE,
    vm_page.PAGE,
    *events_page.PAGES,
    *requests_page.PAGES,
    *faults_page.PAGES,
    *trust_page.PAGES,
    hosts_page.PAGE,
    health_page.PAGE,
)
FORMS: tuple[FormRow, ...] = (
    *vm_page.FORMS,
    *events_page.FORMS,
    *faults_page.FORMS,
    *trust_page.FORMS,
)
