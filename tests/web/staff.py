"""What a member of staff sees and does in one tab."""

from __future__ import annotations

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from .conftest import PATIENCE, Server

DESKTOP = {"width": 1440, "height": 860}
PHONE = {"width": 390, "height": 844}


class DeskPage:
    """The support desk."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.waiting = page.locator("chatbox-inbox .queue chatbox-staff-row")
        self.listed = page.locator("chatbox-inbox section:not(.queue) chatbox-staff-row")
        self.pane = page.locator("chatbox-pane.front")
        self.owner = self.pane.locator(".owner .who")
        self.take_over = self.pane.locator(".owner").get_by_role("button", name="Take over")
        self.hand_back = self.pane.get_by_role("button", name="Hand back", exact=True)
        self.reply = self.pane.get_by_role("textbox", name="Reply", exact=True)
        self.messages = self.pane.locator("chatbox-pane-messages")
        self.link = page.locator("chatbox-link-line")

    def row(self, name: str) -> Locator:
        return self.listed.filter(has_text=name).first

    async def show(self, name: str) -> None:
        """Open the conversation of a user in the list."""
        await self.row(name).click()
        await expect(self.pane.get_by_role("heading", name=name)).to_be_visible()
        await expect(self.messages.locator("chatbox-staff-message").first).to_be_visible()

    async def take(self) -> None:
        await self.take_over.click()
        await expect(self.owner).to_have_text("You have this conversation")

    async def say(self, text: str) -> None:
        await self.reply.fill(text)
        await self.reply.press("Enter")

    async def note(self, text: str) -> None:
        await self.pane.get_by_role("button", name="Internal note").click()
        field = self.pane.get_by_role("textbox", name="Internal note")
        await field.fill(text)
        await field.press("Enter")


async def sit_down(
    context: BrowserContext,
    server: Server,
    user: str,
    name: str,
    *,
    role: str = "chat_admin",
    base: str = "",
    to: str = "",
) -> DeskPage:
    """Open the support desk by a link with a token, and wait until it is connected. ``to`` is the rest of its path."""
    page = await context.new_page()
    token = server.token(user, name=name, roles=[role])
    await page.goto(f"{base or server.base}staff{to}#token={token}")
    await expect(page.locator("chatbox-rail")).to_be_visible()
    await expect(page.locator("chatbox-link-line p")).to_have_count(0)
    return DeskPage(page)


async def staff_context(
    chromium: Browser, *, size: dict[str, int] = DESKTOP, scheme: str = "light", locale: str = "en-GB"
) -> BrowserContext:
    context = await chromium.new_context(
        viewport=size, color_scheme=scheme, locale=locale, reduced_motion="reduce", timezone_id="Europe/Berlin"
    )
    context.set_default_timeout(PATIENCE)
    return context
